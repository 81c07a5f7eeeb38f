"use strict";
// Everything shown is set as text: what agents write is never read as HTML.

const LOOK_MS = 2000;
const SECRET = "tollkeeper-operator"; // in sessionStorage: this tab of this very address alone has it
const $ = (id) => document.getElementById(id);
let shown = null; // the held call that is open below the list

history.replaceState(null, "", location.pathname); // the token need not stay in the address

async function ask(path, method = "GET", sent) {
  const headers = {};
  if (method !== "GET") {
    const xsrf = document.cookie.match(/_mitmproxy_xsrf=([^;]*)/);
    headers["X-XSRFToken"] = xsrf ? xsrf[1] : "";
    headers["X-Tollkeeper-Operator"] = sessionStorage.getItem(SECRET) || "";
    headers["Content-Type"] = "application/json";
  }
  const answer = await fetch("/tollkeeper/" + path, { method, headers, body: sent && JSON.stringify(sent) });
  const text = await answer.text();
  if (!answer.ok) {
    if (answer.status === 403 && path === "answer") lock();
    throw new Error(text.startsWith("<") ? `mitmweb answered ${answer.status}.` : text);
  }
  return text ? JSON.parse(text) : null;
}

function say(text, bad = false) {
  $("said").hidden = bad || !text;
  $("problem").hidden = !bad || !text;
  $(bad ? "problem" : "said").textContent = text;
}

function make(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function ago(seconds) {
  if (seconds < 90) return `${seconds} s ago`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}

function holdRow(hold) {
  const row = document.createElement("tr");
  const open = make("button", hold.approval);
  open.addEventListener("click", () => show(hold.approval));
  row.insertCell().append(open);
  const clients = hold.waiting || "left";
  for (const text of [hold.agent, hold.model, hold.at_most, hold.rule, ago(hold.asked_seconds_ago), hold.until, clients])
    row.insertCell().textContent = text;
  row.classList.toggle("shown", shown !== null && shown.approval === hold.approval);
  return row;
}

async function look() {
  try {
    const state = await ask("state");
    $("mode").textContent = state.mode === "observe" ? "observes and blocks nothing" : "enforces";
    $("waiting").textContent = state.waiting || "";
    $("nothing").hidden = state.waiting > 0;
    $("holds").hidden = state.waiting === 0;
    $("holds").tBodies[0].replaceChildren(...state.holds.map(holdRow));
    $("refusals").replaceChildren(...state.refusals.map((text) => make("li", text)));
    $("none-refused").hidden = state.refusals.length > 0;
    document.title = state.waiting ? `(${state.waiting}) Tollkeeper` : "Tollkeeper";
    $("policy").hidden = !state.problem;
    $("policy").textContent = `The newest edit of the policy is not in force.\n${state.problem}`;
    $("down").hidden = true;
  } catch (error) {
    $("down").hidden = false;
    $("down").textContent = `The proxy does not answer: ${error.message}`;
  }
}

async function show(approval) {
  try {
    shown = await ask(`approvals/${approval}`);
  } catch (error) {
    return say(error.message, true);
  }
  $("question").hidden = false;
  $("which").textContent = shown.approval;
  const facts = { agent: shown.agent, run: shown.run, "held by": `rules.${shown.rule}`, model: shown.model,
    "costs at most": shown.at_most, until: shown.until, ...shown.facts };
  delete facts.worst;
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  $("body").textContent = shown.body.join("\n");
  $("whole").textContent = `This is the whole body, ${shown.body_bytes} bytes; nothing is left out.`;
  offer();
  look();
}

function offer() {
  const open = sessionStorage.getItem(SECRET) !== null;
  $("unlock").hidden = open;
  $("unlocked").hidden = !open;
  $("locked").hidden = open;
  $("until").textContent = sessionStorage.getItem(SECRET + "-until") || "";
  for (const button of document.querySelectorAll("#answer [name=answer]")) button.disabled = !open;
}

function lock() {
  sessionStorage.removeItem(SECRET);
  sessionStorage.removeItem(SECRET + "-until");
  offer();
}

function close() {
  shown = null;
  $("question").hidden = true;
  $("note").value = "";
  look();
}

$("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const opened = await ask("unlock", "POST", { code: $("code").value });
    sessionStorage.setItem(SECRET, opened.secret);
    sessionStorage.setItem(SECRET + "-until", opened.until);
    say("");
  } catch (error) {
    say(error.message, true);
  }
  $("code").value = "";
  offer();
});

$("lock").addEventListener("click", async () => {
  await ask("unlock", "DELETE").catch(() => {});
  lock();
});

$("answer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = event.submitter ? event.submitter.value : "";
  if (!answer) return; // Enter in the note answers nothing
  try {
    const given = await ask("answer", "POST",
      { approval: shown.approval, digest: shown.digest, answer, note: $("note").value });
    say(`${given.approval}: ${given.answered}.`);
    close();
  } catch (error) {
    say(error.message, true);
  }
});
// Enter would press the first button, which approves.
$("note").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
$("later").addEventListener("click", close);

offer();
look();
setInterval(look, LOOK_MS);
