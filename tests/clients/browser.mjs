/** A real browser that knows no host but ours. */
import { chromium } from "playwright-core";
import { temporaryDirectory } from "./server.mjs";
import { DEADLINE_MS, within } from "./wait.mjs";

/** Opens a browser that ends with the test. */
export async function openBrowser(t) {
  const browser = await chromium.launchPersistentContext(temporaryDirectory(), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    viewport: { width: 1400, height: 900 },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // No name resolves: what is not bundled fails here as it would on a machine without internet.
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
  t.after(() => within(browser.close(), "the browser ends"));
  browser.setDefaultTimeout(DEADLINE_MS * 3);
  return browser;
}
