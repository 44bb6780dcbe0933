/**
 * Servers for tests of clients: one that plays scripts byte for byte, and a proxy that breaks connections.
 * Both end with the test `t` that made them.
 */

import { once } from "node:events";
import http from "node:http";
import net from "node:net";

/** The head of a native answer without a length: its end is the connection's. */
export const HEAD =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n" +
  "X-Message-Id: message-1\r\nX-Conversation-Id: conversation-1\r\n\r\n";

export const DONE =
  'data: {"type":"done","messageId":"message-1",' +
  '"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n';

export function token(text, id) {
  return `id: ${id}\ndata: ${JSON.stringify({ type: "token", content: text })}\n\n`;
}

/** A refusal in the error contract's words, or whatever else `body` is. */
export function refused(status, body, headers = "") {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return (
    `HTTP/1.1 ${status} No\r\nContent-Type: application/json\r\nConnection: close\r\n${headers}` +
    `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  );
}

/**
 * Answers the n-th request with the n-th script, any further one with a 599, which no test expects.
 * A script is the bytes to send before the connection ends, or a function of the socket and the request.
 * Returns the URL and the requests that came: `{ method, path, headers, body }`.
 */
export async function scripted(t, ...scripts) {
  const requests = [];
  const sockets = new Set();
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method, url, headers, socket } = request;
    const script = scripts[requests.length] ?? refused(599, "not in the script");
    requests.push({ method, path: url, headers, body: Buffer.concat(chunks).toString() });
    response.detachSocket(socket);
    if (typeof script === "function") await script(socket, requests.at(-1));
    else socket.end(script);
  });
  server.on("connection", (socket) => {
    sockets.add(socket.on("error", () => {}));
    socket.on("close", () => sockets.delete(socket));
  });
  const url = await listening(t, server, sockets);
  return { url, requests };
}

/**
 * Passes bytes on to `proxy.target`, an http URL, until `proxy.pass(count)` says that the connection is to
 * be broken: called with the number of bytes of the answer so far, true goes on.
 */
export async function breaking(t, target) {
  const proxy = { target, pass: () => true, connections: 0, url: "" };
  const sockets = new Set();
  const server = net.createServer((near) => {
    proxy.connections += 1;
    const far = net.connect(Number(new URL(proxy.target).port), "127.0.0.1");
    for (const socket of [near, far]) sockets.add(socket.on("error", () => {}));
    near.pipe(far);
    let count = 0;
    far.on("data", (data) => {
      count += data.length;
      if (proxy.pass(count, data)) near.write(data);
      else near.resetAndDestroy();
    });
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroySoon());
  });
  proxy.url = await listening(t, server, sockets);
  return proxy;
}

async function listening(t, server, sockets) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}
