// Keeps what the user has set: settings in this browser, the key in this tab, and both never in the page's address
// but for a link that was asked for, which has no key.

const KEPT = "tokenwire.playground";
const KEY = "tokenwire.key";

export const apiKey = () => stored(sessionStorage, KEY) ?? "";

export function keepApiKey(key) {
  if (key) keep(sessionStorage, KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** `{texts, model, target, theme}`, of a link or as they were kept; parts may be absent. */
export function loadSettings() {
  const kept = parsed(stored(localStorage, KEPT)) ?? {};
  const shared = location.hash.length > 1 ? parsed(decode(location.hash.slice(1))) : null;
  return shared ? { ...kept, ...pick(shared) } : kept;
}

export const keepSettings = (settings) => keep(localStorage, KEPT, JSON.stringify(settings));

/** The page's address with these settings. */
export function linkTo(settings) {
  const bytes = new TextEncoder().encode(JSON.stringify(pick(settings)));
  const address = new URL(location);
  address.hash = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return address.href;
}

const pick = ({ texts, model }) => ({ texts, model });

function decode(text) {
  try {
    const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return new TextDecoder().decode(Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)));
  } catch {
    return null; // a fragment of something else
  }
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null; // of another version
  }
}

// Browsers may forbid storage altogether: then nothing is kept.
function stored(storage, name) {
  try {
    return storage.getItem(name);
  } catch {
    return null;
  }
}

function keep(storage, name, text) {
  try {
    storage.setItem(name, text);
  } catch {
    // see above
  }
}
