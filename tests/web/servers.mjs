/**
 * Servers for tests of clients: one that sends scripted bytes, and a proxy that breaks connections. Both end with
 * the test `t`.
 */

import { once } from "node:events";
import http from "node:http";
import net from "node:net";

/** The head of a native response. The response ends with the connection. */
export const HEAD =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n" +
  "X-Message-Id: message-1\r\nX-Conversation-Id: conversation-1\r\n\r\n";

export const DONE =
  'data: {"type":"done","messageId":"message-1",' +
  '"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n';

export function token(text, id) {
  return `id: ${id}\ndata: ${JSON.stringify({ type: "token", content: text })}\n\n`;
}

/** A response with an error status. `body` is a string or a JSON value. */
export function refused(status, body, headers = "") {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return (
    `HTTP/1.1 ${status} No\r\nContent-Type: application/json\r\nConnection: close\r\n${headers}` +
    `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  );
}

/**
 * Answers the n-th request with the n-th script, and any further request with status 599.
 * A script is the bytes to send before the connection ends, or a function of the socket and the request.
 * Returns the URL and the received requests: `{ method, path, headers, body }`.
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
 * Forwards bytes to `proxy.target`, an http URL. Calls `proxy.pass(count)` with the number of response bytes so
 * far, and breaks the connection if it returns false.
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
