/** Waiting for what must happen, with a deadline that says what did not. Nothing here sleeps. */

export const DEADLINE_MS = 20_000;

/** The promise, or after the deadline an error that names what was awaited; `state` may add what is known by then. */
export async function within(promise, what, ms = DEADLINE_MS, state = () => "") {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms${state()}`)), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** What arrived on one way, in order, for a test to wait on. */
export class Arrivals {
  items = [];
  #name;
  #failure;
  #waiting = new Set();

  constructor(name) {
    this.#name = name;
  }

  push(item) {
    this.items.push(item);
    this.#wake();
  }

  /** Nothing more can arrive: who waits gets the error. */
  fail(error) {
    this.#failure ??= error;
    this.#wake();
  }

  /** Resolves with what `find` makes of the items once that is neither undefined nor false. */
  async until(find, what, ms) {
    const state = () => `; ${this.items.length} arrived, the last: ${JSON.stringify(this.items.at(-1))?.slice(0, 500)}`;
    let look;
    const found = new Promise((resolve, reject) => {
      look = () => {
        const result = find(this.items);
        if (result !== undefined && result !== false) resolve(result);
        else if (this.#failure) reject(new Error(`${this.#name}: ${what}: ${this.#failure.message}${state()}`));
      };
    });
    this.#waiting.add(look);
    look();
    try {
      return await within(found, `${this.#name}: ${what}`, ms, state);
    } finally {
      this.#waiting.delete(look);
    }
  }

  /** Resolves with the first item that is accepted. */
  first(accepts, what, ms) {
    return this.until((items) => items.find(accepts), what, ms);
  }

  /** Resolves with the items once there are so many. */
  count(least, ms) {
    return this.until((items) => items.length >= least && items, `${least} arrivals`, ms);
  }

  /** Resolves with the failure. */
  failure(what) {
    return this.until(() => this.#failure, what);
  }

  #wake() {
    for (const look of [...this.#waiting]) look();
  }
}
