// Calls of this server's own REST interface. The key lives as long as the tab.

const KEY = "engram-key";
const TENANT = "engram-tenant";

export const key = () => sessionStorage.getItem(KEY) || "";
export const tenant = () => sessionStorage.getItem(TENANT) || "";

export function setKey(value, forTenant = "") {
  for (const [name, text] of [[KEY, value], [TENANT, forTenant]]) {
    if (text) sessionStorage.setItem(name, text);
    else sessionStorage.removeItem(name);
  }
}

// What went wrong in words, with the status of the answer; 0 where there was none.
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

function credential(given = { key: key(), tenant: tenant() }) {
  const headers = {};
  if (given.key) headers["api-key"] = given.key;
  if (given.tenant) headers["engram-tenant"] = given.tenant;
  return headers;
}

async function send(method, path, { body, signal, given } = {}) {
  let answer;
  try {
    const headers = credential(given);
    if (body !== undefined) headers["content-type"] = "application/json";
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : write(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A key that no header can hold never leaves the browser.
    if (/ISO-8859-1|ByteString|header/i.test(error.message)) throw new Refused("The key holds characters that no key has.", 401);
    throw new Refused("The server does not answer. Is it running?", 0);
  }
  if (answer.ok) return answer;
  throw new Refused(await reason(answer), answer.status);
}

async function reason(answer) {
  const text = await answer.text().catch(() => "");
  if (answer.status === 401) return key() ? "The server does not know this key." : "This server wants an API key.";
  try {
    return JSON.parse(text).status.error || text;
  } catch {
    // Not every refusal is JSON: one of a proxy is not.
    return text.slice(0, 500) || `The server answered with status ${answer.status}.`;
  }
}

// Whole numbers beyond 2^53, as ids may be, stay what they are: on their way they are texts with a mark that nobody knows.
const LARGE = /[[:,]\s*-?\d{16,}\s*[,}\]]/;
const MARK = `${Math.random().toString(36).slice(2)}:`;
const MARKED = new RegExp(`"${MARK}(-?\\d+)"`, "g");
const TEXT_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

const marked = (token) => (/^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${MARK}${token}"` : token);
const unmarked = (_name, value) => (typeof value === "string" && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value);

export function read(text) {
  return LARGE.test(text) ? JSON.parse(text.replace(TEXT_OR_NUMBER, marked), unmarked) : JSON.parse(text);
}

export function write(value, indent) {
  const text = JSON.stringify(value, (_name, part) => (typeof part === "bigint" ? `${MARK}${part}` : part), indent);
  return text?.replace(MARKED, "$1");
}

async function timed(method, path, options) {
  const { result, time } = read(await (await send(method, path, options)).text());
  return { result, seconds: time };
}

export const get = async (path, signal) => (await timed("GET", path, { signal })).result;
export const post = async (path, body = {}, signal) => (await timed("POST", path, { body, signal })).result;
export const ask = (path, body, signal) => timed("POST", path, { body, signal });
export const text = async (path, signal) => (await send("GET", path, { signal })).text();
export const proves = (given) => send("GET", "/collections", { given });
export const collection = (name) => `/collections/${encodeURIComponent(name)}`;

// Version of the dialect, and of the server itself.
export async function root() {
  const answer = await send("GET", "/");
  return { dialect: (await answer.json()).version, server: answer.headers.get("server") || "" };
}
