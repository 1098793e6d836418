// Calls of this server's own REST interface. The key lives as long as the tab.

const KEY = "engram-key";

export const key = () => sessionStorage.getItem(KEY) || "";

export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

async function send(method, path, body) {
  const headers = {};
  if (key()) headers["api-key"] = key();
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.ok) return answer;
  const text = await answer.text();
  let why = text;
  try {
    why = JSON.parse(text).status.error;
  } catch {
    // Not every refusal is JSON: a missing key is told in plain text.
  }
  if (answer.status === 401) why = "No valid key: give one in the field at the top.";
  throw new Error(why || `the server answered ${answer.status}`);
}

export const get = async (path) => (await (await send("GET", path)).json()).result;
export const post = async (path, body = {}) => (await (await send("POST", path, body)).json()).result;
export const text = async (path) => (await send("GET", path)).text();
export const root = async () => (await send("GET", "/")).json();
export const collection = (name) => `/collections/${encodeURIComponent(name)}`;
