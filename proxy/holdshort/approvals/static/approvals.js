// The review page, alive. The server draws everything; this file fetches a page again when something changed, puts the
// parts marked `data-live` in place, and sends decisions. It never turns text into HTML, and never parses arguments:
// a JavaScript number would lose digits that the call has.

const $ = (id) => document.getElementById(id);
const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
const page = document.body.dataset.page;
const skew = meta("now") ? Date.parse(meta("now")) - Date.now() : 0;

function say(words) { $("say").textContent = words; }
function shout(words) { $("alert").textContent = words; }

// --- Talking to the server -------------------------------------------------------------------------------------

async function send(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "x-csrf-token": meta("csrf") },
      body,
      credentials: "same-origin",
      redirect: "error",
    });
  } catch {
    return { status: 0, code: "offline", message: "The proxy does not answer. Nothing was decided as far as we know; look again." };
  }
  if (response.ok) return { status: response.status, response };
  const told = await response.json().catch(() => ({}));
  const error = told.error ?? {};
  if (response.status === 401) loggedOut();
  return { status: response.status, code: error.code ?? "?", message: error.message ?? "That did not work.", pointer: error.pointer, record: error.interruption };
}

async function whoIsHere() {
  try {
    return await (await fetch("/session", { credentials: "same-origin" })).json();
  } catch {
    return null;
  }
}

function loggedOut() {
  if (page === "login") return;
  link("out", "logged out");
  const where = $("trouble") ?? $("conflict");
  if (!where || !where.hidden) return;
  const again = document.createElement("a");
  again.href = "/login" + (page === "review" ? "?next=" + encodeURIComponent(location.pathname) : "");
  again.textContent = "Log in again";
  where.replaceChildren("Your login is over. ", again);
  where.hidden = false;
  shout("Your login is over.");
}

// --- Following changes -----------------------------------------------------------------------------------------

function link(state, words) {
  $("link").dataset.state = state;
  $("link-words").textContent = words;
}

let refreshing = false;
let again = false;

async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = true;
  try {
    do {
      again = false;
      const response = await fetch(location.pathname, { credentials: "same-origin", redirect: "manual" });
      if (response.type === "opaqueredirect") { loggedOut(); return; }
      if (!response.ok) return;
      place(new DOMParser().parseFromString(await response.text(), "text/html"));
    } while (again);
  } catch {
    // The event stream says when the server is back, and then everything is fetched anyway.
  } finally {
    refreshing = false;
  }
}

function place(fresh) {
  document.title = fresh.title;
  if (page === "queue") placeRows(fresh);
  const call = $("call"), now = fresh.getElementById("call");
  const changed = call && now && call.dataset.fingerprint !== now.dataset.fingerprint;
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (!other || part.innerHTML === other.innerHTML) continue;
    // What is being read or typed stays as it is, unless the call itself is another now.
    if (part.id === "arguments" && !changed) continue;
    if (part.id === "decide" && part.dataset.key === other.dataset.key && part.querySelector("form:not([hidden]), details.remember[open]")) continue;
    const had = part.contains(document.activeElement);
    part.replaceChildren(...[...other.childNodes].map((node) => document.importNode(node, true)));
    if (other.dataset.key) part.dataset.key = other.dataset.key;
    if (had) { const heading = part.querySelector("h2"); if (heading) { heading.tabIndex = -1; heading.focus(); } }
  }
  if (call && now) {
    const before = call.dataset.state;
    Object.assign(call.dataset, now.dataset);
    if (changed) rest();
    if (changed && now.dataset.state === "pending") conflict("The call was edited while you looked at it. Look again: what you see now is what would run.");
    if (before !== now.dataset.state) say(`Now ${now.dataset.state}. ${$("state-words")?.textContent ?? ""}`);
    bindCall();
  }
  if (page === "grants") bindGrants();
  tick();
}

function placeRows(fresh) {
  const list = $("queue"), other = fresh.getElementById("queue");
  const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
  const focused = document.activeElement?.closest?.("li[data-id]");
  const position = focused ? [...list.children].indexOf(focused) : -1;
  const arrived = [];
  let previous = null;
  for (const row of other.children) {
    let mine = rows.get(row.dataset.id);
    rows.delete(row.dataset.id);
    if (!mine || mine.dataset.revision !== row.dataset.revision) {
      const made = document.importNode(row, true);
      if (mine) {
        const had = mine.contains(document.activeElement);
        mine.replaceWith(made);
        if (had) made.querySelector("a").focus();
      } else {
        made.classList.add("fresh");
        arrived.push(row.querySelector(".call-what").textContent.trim().replace(/\s+/g, " "));
      }
      mine = made;
    }
    const place = previous ? previous.nextSibling : list.firstChild;
    if (place !== mine) list.insertBefore(mine, place);
    previous = mine;
  }
  for (const gone of rows.values()) gone.remove();
  if (focused && !focused.isConnected) focusRow(Math.min(position, list.children.length - 1));
  if (arrived.length) say(arrived.length === 1 ? `New call: ${arrived[0]}` : `${arrived.length} new calls`);
  else if (rows.size) say(`${list.children.length} calls wait`);
}

let stream;

function follow() {
  // After a cut the browser comes back by itself and says what it saw last.
  stream = new EventSource(`/v1/interruptions/events?after=${encodeURIComponent(meta("sequence"))}`);
  let opened = false;
  stream.onopen = () => { link("live", "live"); if (opened) refresh(); opened = true; };
  stream.onerror = async () => {
    link("reconnecting", "reconnecting…");
    if (stream.readyState !== EventSource.CLOSED) return;
    const here = await whoIsHere();
    if (here && !here.approver) { loggedOut(); return; }
    setTimeout(follow, 2000);
  };
  stream.addEventListener("interruption", (event) => {
    // Only the id is read: records are drawn by the server.
    if (page === "review" && !event.data.includes(JSON.stringify($("call").dataset.id))) { lookForNext(); return; }
    refresh();
    if (page === "review") lookForNext();
  });
}

async function lookForNext() {
  const response = await fetch("/v1/interruptions?state=pending&limit=2", { credentials: "same-origin" }).catch(() => null);
  if (!response || !response.ok) return;
  const { interruptions } = await response.json();
  const other = interruptions.find((record) => record.id !== $("call").dataset.id);
  $("next").hidden = !other;
  if (other) $("next").href = `/review/${encodeURIComponent(other.id)}`;
}

// --- Time ------------------------------------------------------------------------------------------------------

function tick() {
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-until]")) {
    const left = Math.max(0, Math.floor((Date.parse(time.dataset.until) - now) / 1000));
    const hours = Math.floor(left / 3600), minutes = Math.floor(left / 60) % 60, seconds = left % 60;
    time.textContent = left === 0 ? "time is up" : hours ? `${hours} h ${minutes} min left` : minutes >= 10 ? `${minutes} min left` : `${minutes}:${String(seconds).padStart(2, "0")} left`;
    time.classList.toggle("soon", left < 120);
    time.title = new Date(time.dataset.until).toLocaleString();
  }
  for (const time of document.querySelectorAll("time[data-at]")) {
    time.textContent = new Date(time.dataset.at).toLocaleString();
    time.removeAttribute("data-at");
  }
}

// --- One call --------------------------------------------------------------------------------------------------

const opened = new WeakSet();
let restUntil = 0;

// A click that was on its way when the call changed must not land on what nobody has read.
function rest() {
  restUntil = Date.now() + 1500;
  setTimeout(gate, 1600);
}

function unread() {
  return [...document.querySelectorAll("#arguments details.long")].filter((fold) => !opened.has(fold));
}

function gate() {
  const closed = unread().length > 0;
  const approve = $("approve");
  if (approve) approve.disabled = closed || Date.now() < restUntil;
  if ($("unseen-values")) $("unseen-values").hidden = !closed;
}

function openAll() {
  for (const fold of document.querySelectorAll("details.long")) fold.open = true;
}

function toggleForm(name) {
  for (const form of document.querySelectorAll("#decide form")) {
    const mine = form.id === `${name}-form`;
    form.hidden = mine ? !form.hidden : true;
    $(form.id.replace("-form", ""))?.setAttribute("aria-expanded", String(!form.hidden));
    if (mine && !form.hidden) form.querySelector("textarea").focus();
  }
}

function closeForms() {
  const open = document.querySelector("#decide form.sub:not([hidden])");
  if (!open || open.id === "resolve-form") return false;
  toggleForm("");
  $(open.id.replace("-form", ""))?.focus();
  return true;
}

function conflict(words) {
  $("conflict").textContent = words;
  $("conflict").hidden = false;
  $("conflict").focus();
}

const PAST = { approve: "approved", edit: "edited and approved", reject: "rejected", respond: "answered" };

function wordsFor(problem) {
  const last = problem.record?.decisions?.at(-1);
  if (problem.code === "already_decided" && last) return `${last.by} already ${PAST[last.decision]} this${last.message ? `: “${last.message}”` : ""}. Your decision changed nothing.`;
  if (problem.code === "already_decided") return `This call is ${problem.record?.state ?? "decided"} already. Your decision changed nothing.`;
  if (problem.code === "expired") return "Time ran out before your decision. It did not run; the agent has to ask again.";
  if (problem.code === "fingerprint_mismatch") return "The call was edited while you looked at it. Look again: what you see now is what would run.";
  return problem.message;
}

async function decide(parts, errorId) {
  const call = $("call").dataset;
  const body = `{"fingerprint":${JSON.stringify(call.fingerprint)},${parts}}`;
  busy(true);
  const outcome = await send(`/v1/interruptions/${encodeURIComponent(call.id)}/decision`, body);
  busy(false);
  await settle(outcome, errorId);
}

async function settle(outcome, errorId) {
  if (!outcome.code) {
    $("conflict").hidden = true;
    for (const form of document.querySelectorAll("#decide form")) form.hidden = true;
    await refresh();
    return;
  }
  const words = wordsFor(outcome);
  if (outcome.status === 409) {
    for (const form of document.querySelectorAll("#decide form")) form.hidden = true;
    conflict(words);
    await refresh();
  } else {
    ($(errorId) ?? $("decide-error") ?? $("conflict")).textContent = words;
  }
}

function busy(state) {
  for (const button of document.querySelectorAll("#decide button")) button.disabled = state;
  if (!state) gate();
}

let previewed = null;

function forgetPreview() {
  previewed = null;
  $("edit-diff").replaceChildren();
  $("edit-go").textContent = "Show the change";
  $("edit-go").classList.remove("yes");
}

async function edit() {
  const text = $("edit-text").value;
  if (previewed === text) { await decide(`"decision":"edit","arguments":${text}`, "edit-error"); return; }
  const call = $("call").dataset;
  const outcome = await send(`/review/${encodeURIComponent(call.id)}/preview`, JSON.stringify({ fingerprint: call.fingerprint, text }));
  const field = $("edit-text"), error = $("edit-error");
  if (outcome.code) {
    field.setAttribute("aria-invalid", "true");
    error.textContent = (outcome.pointer ? `${outcome.pointer}: ` : "") + wordsFor(outcome);
    if (outcome.status === 409) { conflict(wordsFor(outcome)); await refresh(); } else field.focus();
    return;
  }
  field.removeAttribute("aria-invalid");
  error.textContent = "";
  const drawn = new DOMParser().parseFromString(await outcome.response.text(), "text/html");
  $("edit-diff").replaceChildren(...[...drawn.body.childNodes].map((node) => document.importNode(node, true)));
  if (drawn.querySelector(".diff")) {
    previewed = text;
    $("edit-go").textContent = "Approve this change";
    $("edit-go").classList.add("yes");
    $("edit-go").focus();
    say("The change is shown. Press Enter to approve it.");
  }
}

async function acceptPin(button) {
  const { server, tool, digest } = button.dataset;
  button.disabled = true;
  const outcome = await send("/v1/pins/accept", JSON.stringify({ server, tool, digest }));
  button.disabled = false;
  if (outcome.code) { $("accept-error").textContent = outcome.message; return; }
  say("The definition is accepted. The call still waits for a decision.");
  await refresh();
}

// The names and values are JSON as the server wrote it, put together here as text: no digit is lost on the way.
function remembered() {
  const part = $("remember");
  if (!part?.open) return "";
  const proposed = $("proposed")?.checked, choices = [...part.querySelectorAll("[data-name]")];
  const named = choices.map((each) => `${each.dataset.name}:${each.checked ? '{"any":true}' : `{"in":[${each.dataset.value}]}`}`);
  const chosen = choices.some((each) => each.checked) ? `{${named.join(",")}}` : '"exact"';
  const when = $("remember-when").value.trim();
  const scope = proposed
    ? `"arguments":${$("proposal").dataset.arguments},"when":${$("proposal").dataset.when}`
    : `"arguments":${chosen},"when":${when ? JSON.stringify(when) : "null"}`;
  const uses = $("remember-uses").value.trim();
  return `,"remember":{"for":${JSON.stringify($("remember-for").value)},"max_uses":${/^[0-9]+$/.test(uses) ? Number(uses) : 0},${scope}}`;
}

function bindRemember() {
  const part = $("remember");
  if (!part) return;
  const tell = () => {
    const button = $("approve"), proposed = $("proposed")?.checked;
    const any = [...part.querySelectorAll("[data-name]:checked")].map((each) => each.parentElement.querySelector("code").textContent);
    $("choices").disabled = Boolean(proposed);
    $("remember-words").textContent = proposed ? "It will cover what is proposed."
      : any.length ? `It will cover calls with any value of ${any.join(" and ")}, and everything else exactly as here.`
      : "It will cover exactly these arguments and no others.";
    button.firstChild.textContent = part.open ? "Approve and remember " : "Approve ";
  };
  part.ontoggle = tell;
  part.oninput = tell;
  tell();
}

function bindGrants() {
  for (const button of document.querySelectorAll("[data-revoke]")) {
    button.onclick = async () => {
      button.disabled = true;
      const outcome = await send(`/v1/grants/${encodeURIComponent(button.dataset.revoke)}/revoke`, "{}");
      button.disabled = false;
      if (outcome.code) { $("revoke-error").textContent = outcome.message; return; }
      say("Revoked. The next such call asks again.");
      await refresh();
      bindGrants();
    };
  }
}

function bindCall() {
  gate();
  if ($("accept-pin")) $("accept-pin").onclick = () => acceptPin($("accept-pin"));
  for (const fold of document.querySelectorAll("#arguments details.long")) {
    fold.ontoggle = () => { if (fold.open) { opened.add(fold); gate(); } };
  }
  for (const name of ["edit", "reject", "respond"]) {
    if ($(name)) $(name).onclick = () => toggleForm(name);
  }
  for (const button of document.querySelectorAll("[data-close]")) button.onclick = closeForms;
  if ($("open-all")) $("open-all").onclick = () => { openAll(); $("approve")?.focus(); };
  if ($("approve")) $("approve").onclick = () => { if (!$("approve").disabled) decide(`"decision":"approve"${remembered()}`, "decide-error"); };
  bindRemember();
  on("reject-form", () => decide(`"decision":"reject","message":${JSON.stringify($("reason").value.trim() || null)}`, "reject-error"));
  on("respond-form", () => {
    if (!$("content").value) { $("respond-error").textContent = "Write what the agent should get."; return; }
    decide(`"decision":"respond","content":${JSON.stringify($("content").value)}`, "respond-error");
  });
  on("edit-form", edit);
  if ($("edit-text")) $("edit-text").oninput = () => { if (previewed !== null) forgetPreview(); };
  on("resolve-form", async (event) => {
    const body = JSON.stringify({ ran: event.submitter?.value === "yes", note: $("note").value.trim() });
    await settle(await send(`/v1/interruptions/${encodeURIComponent($("call").dataset.id)}/resolve`, body), "resolve-error");
  });
}

function on(id, act) {
  const form = $(id);
  if (!form) return;
  form.onsubmit = (event) => { event.preventDefault(); act(event); };
  form.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); } };
}

// --- Keys ------------------------------------------------------------------------------------------------------

function focusRow(index) {
  const rows = document.querySelectorAll("a[data-row]");
  if (rows.length) rows[Math.max(0, Math.min(index, rows.length - 1))].focus();
}

function step(by) {
  const rows = [...document.querySelectorAll("a[data-row]")];
  const at = rows.indexOf(document.activeElement);
  focusRow(at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by);
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.key === "Escape") { if (closeForms()) event.preventDefault(); return; }
  if (event.target.closest("textarea, input, select, [contenteditable]")) return;
  const acts = { "?": () => $("help").showModal() };
  if (page === "queue") Object.assign(acts, { j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1) });
  if (page === "review") {
    const press = (id) => () => $(id)?.click();
    Object.assign(acts, {
      a: () => { const button = $("approve"); if (!button) return; if (button.disabled) { $("open-all").focus(); say("Open the folded values first."); } else button.focus(); },
      e: press("edit"), r: press("reject"), t: press("respond"), o: openAll, u: press("back"),
      n: () => { if (!$("next").hidden) $("next").click(); },
    });
  }
  const act = acts[event.key];
  if (act) { event.preventDefault(); act(); }
}

// --- Starting --------------------------------------------------------------------------------------------------

async function login() {
  const next = $("login-next").value;
  const code = location.hash.slice(1);
  // Out of the address first: it must not be in the history, a bookmark or a screenshot.
  if (code) history.replaceState(null, "", location.pathname + location.search);
  // Somebody who follows a link from another site arrives without the strict cookie, though logged in.
  if ((await whoIsHere())?.approver) { location.replace(next); return; }
  if (!code) return;
  $("login-words").textContent = "Logging in…";
  const outcome = await send("/login", JSON.stringify({ code }));
  if (!outcome.code) { location.replace(next); return; }
  $("login-words").textContent = "";
  $("login-error").textContent = outcome.message;
}

function start() {
  document.addEventListener("keydown", keys);
  $("help-open").onclick = () => $("help").showModal();
  $("logout").onclick = async () => { stream?.close(); await send("/logout", "{}"); location.replace("/login"); };
  // Somebody at work keeps the login; an open page nobody looks at does not.
  let told = Date.now();
  const busyHere = () => { if (Date.now() - told > 60_000) { told = Date.now(); whoIsHere(); } };
  for (const kind of ["keydown", "pointerdown", "wheel"]) document.addEventListener(kind, busyHere, { passive: true });
  setInterval(tick, 1000);
  tick();
  if (page === "review") { bindCall(); lookForNext(); }
  if (page === "grants") bindGrants();
  follow();
}

if (page === "login") login();
else start();
