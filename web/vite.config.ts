import { defineConfig } from "vite";

// Pages are served at the path of their folder (/graphiql), everything they load at /assets/<name>-<hash>, for ever cacheable.
export default defineConfig({
  base: "/",
  publicDir: false,
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 4096,
    license: { fileName: "licenses.md" },
    rolldownOptions: {
      input: { graphiql: "graphiql/index.html" },
      // Libraries mark files "use client" for servers that render React; here nothing does.
      checks: { moduleLevelDirective: false },
    },
  },
  worker: { format: "es" },
  // `npm run dev` shows the pages from source, against a server on its default address.
  server: { proxy: { "/graphql": { target: "http://127.0.0.1:8080", ws: true } } },
  optimizeDeps: { exclude: ["monaco-editor", "monaco-graphql"] },
});
