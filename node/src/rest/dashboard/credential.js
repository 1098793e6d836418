// The key that this tab sends: asked for, proved, forgotten.

import { key, proves, setKey, tenant } from "./api.js";
import { button, labelled, make } from "./dom.js";

export function watchCredential(changed) {
  const opener = document.getElementById("credential");
  const told = () => {
    opener.textContent = key() ? (tenant() ? `Key for ${tenant()}` : "Key in use") : "No key";
    opener.classList.toggle("held", Boolean(key()));
  };
  told();
  opener.addEventListener("click", () => open(""));
  document.addEventListener("key-wanted", (event) => open(event.detail));

  function open(why) {
    if (document.querySelector("dialog[open]")) return;
    const word = make("input", { type: "password", name: "key", autocomplete: "off", spellcheck: "false", required: true, value: key() });
    const who = make("input", { name: "tenant", autocomplete: "off", spellcheck: "false", placeholder: "default", value: tenant() });
    const wrong = make("p", { class: "bad", role: "alert" }, why);
    const use = make("button", { class: "main" }, "Use this key");
    const dialog = make("dialog", { "aria-labelledby": "credential-title" });
    const done = () => (dialog.close(), told(), changed());
    const form = make(
      "form",
      { onsubmit: submit },
      make("h2", { id: "credential-title" }, "API key"),
      make("p", { class: "quiet" }, "It is sent to this server alone and forgotten when the tab is closed. Make one with: engram keys create"),
      labelled("Key", word),
      labelled("Tenant (with the root key only)", who),
      wrong,
      make(
        "div",
        { class: "actions" },
        use,
        key() ? button("Forget the key", () => (setKey(""), done())) : null,
        button("Cancel", () => dialog.close()),
      ),
    );
    async function submit(event) {
      event.preventDefault();
      use.disabled = true;
      wrong.textContent = "";
      try {
        const given = { key: word.value.trim(), tenant: who.value.trim() };
        await proves(given);
        setKey(given.key, given.tenant);
        done();
      } catch (error) {
        wrong.textContent = error.status === 401 ? "The server does not know this key." : error.message;
        word.select();
      } finally {
        use.disabled = false;
      }
    }
    dialog.append(form);
    dialog.addEventListener("close", () => (dialog.remove(), opener.focus()));
    document.body.append(dialog);
    dialog.showModal();
    word.focus();
  }
}
