// Assembles the package `twowire-client` in build/javascript/package: the channel from static/, which the pages use as it
// is, the React hook, and types that tsc makes of their JSDoc. Then `npm pack` it. `make npm-package` does both.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const HERE = import.meta.dirname;
const ROOT = join(HERE, "..", "..");
const TOOLS = join(ROOT, ".node", "node_modules");
const out = process.argv[2] ?? join(ROOT, "build", "javascript");
const target = join(out, "package");

rmSync(out, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
for (const name of ["channel.js", "channel"]) cpSync(join(ROOT, "static", name), join(target, name), { recursive: true });
for (const name of ["chat.js", "react.js", "package.json", "README.md"]) cpSync(join(HERE, name), join(target, name));
cpSync(join(ROOT, "LICENSE"), join(target, "LICENSE"));

// The same checks as in `make check`, and the types beside their sources.
const config = {
  extends: join(ROOT, "tsconfig.json"),
  compilerOptions: { noEmit: false, declaration: true, emitDeclarationOnly: true },
  include: ["package"],
  exclude: [],
};
writeFileSync(join(out, "tsconfig.json"), JSON.stringify(config));
execFileSync(join(TOOLS, ".bin", "tsc"), ["-p", out], { stdio: "inherit" });
