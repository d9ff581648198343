// Sends mails by the official Node client as a test tells it to on standard input, and prints what
// came of each. Input: {"url": …, "key": …, "mails": […]}. See test_sendgrid_node.py.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

const sendgrid = createRequire(path.join(process.argv[2], "index.js"))("@sendgrid/mail");

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const { url, key, mails } = JSON.parse(Buffer.concat(chunks).toString());
  sendgrid.setApiKey(key);
  // Setting the key sets the address back.
  sendgrid.client.setDefaultRequest("baseUrl", `${url}/`);
  const results = [];
  for (const mail of mails) {
    try {
      const [response] = await sendgrid.send(mail);
      results.push({ status: response.statusCode, id: response.headers["x-message-id"] });
    } catch (error) {
      results.push({ status: error.code, errors: error.response.body.errors });
    }
  }
  process.stdout.write(JSON.stringify(results));
}

main();
