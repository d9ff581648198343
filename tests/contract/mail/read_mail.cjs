// Reads messages with postal-mime, which shares no code with Python's parsers.
// Input: a message in base64 on each line. Output: what was read, as JSON on a line each.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");
const readline = require("node:readline");

const { default: PostalMime, decodeWords } = createRequire(
  path.join(process.argv[2], "index.js"),
)("postal-mime");

function mailboxes(addresses) {
  return (addresses || []).map(({ name, address }) => [name, address]);
}

async function read(message) {
  const email = await PostalMime.parse(message, { attachmentEncoding: "base64" });
  return {
    subject: email.subject || "",
    sender: mailboxes([email.from])[0],
    to: mailboxes(email.to),
    cc: mailboxes(email.cc),
    reply_to: mailboxes(email.replyTo),
    text: email.text || "",
    html: email.html || "",
    attachments: email.attachments.map((part) => ({
      filename: part.filename || "",
      content_type: part.mimeType,
      content_id: part.contentId || "",
      body: part.content,
    })),
    headers: email.headers.map(({ originalKey, value }) => [originalKey, decodeWords(value)]),
  };
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const answer = await read(Buffer.from(line, "base64"));
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

main();
