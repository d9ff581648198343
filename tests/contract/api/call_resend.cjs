// Calls the official Node client as a test tells it to on standard input, and prints the results.
// Input: [[method, ...arguments], ...], run in this order. See NodeClient in conftest.py.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

const { Resend } = createRequire(path.join(process.argv[2], "index.js"))("resend");

function resolve(value, results) {
  if (typeof value === "string") {
    const reference = /^<(\d+)\.(.+)>$/.exec(value);
    if (reference === null) return value;
    return reference[2].split(".").reduce((node, key) => node[key], results[Number(reference[1])]);
  }
  if (Array.isArray(value)) return value.map((item) => resolve(item, results));
  if (value !== null && typeof value === "object") {
    if (Array.isArray(value.$bytes)) return Buffer.from(value.$bytes);
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, resolve(item, results)]),
    );
  }
  return value;
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const client = new Resend();
  const results = [];
  for (const [method, ...args] of JSON.parse(Buffer.concat(chunks).toString())) {
    const [group, name] = method.split(".");
    results.push(await client[group][name](...args.map((item) => resolve(item, results))));
  }
  process.stdout.write(JSON.stringify(results));
}

main();
