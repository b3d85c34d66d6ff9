// The Runtime API's loop: AWS's own client for Node has to be compiled, and does no more for one event.

import http from "node:http";
import { handler } from "./handler.mjs";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const request = http.request({ host, port, agent, method, headers, path: `/2018-06-01/runtime/invocation/${path}` });
    request.on("error", reject).on("response", (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part)).on("error", reject);
      response.on("end", () => resolve([response.headers, Buffer.concat(parts).toString()]));
    });
    request.end(body);
  });
}

async function run() {
  for (;;) {
    const [headers, event] = await call("GET", "next");
    const answer = await handler(JSON.parse(event));
    await call("POST", `${headers["lambda-runtime-aws-request-id"]}/response`, JSON.stringify(answer));
  }
}

run();
