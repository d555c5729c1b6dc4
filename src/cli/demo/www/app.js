"use strict";

// Asks again for each file, past the browser's own cache, and shows what the PoP says it did. The two headers keep the
// browser from asking the PoP for a fresh copy.
const files = ["/", "/app.css", "/app.js", "/pops.svg", "/now"];

async function row(path) {
  const headers = { "Cache-Control": "max-age=86400", "Pragma": "any" };
  const answer = await fetch(path, { cache: "no-store", headers });
  const status = answer.headers.get("Cache-Status") ?? "-";
  const line = document.createElement("tr");
  line.className = /; hit\b/.test(status) ? "hit" : "miss";
  for (const text of [path, answer.status, answer.headers.get("Age") ?? "-", status]) {
    line.insertCell().textContent = text;
  }
  return line;
}

(async () => {
  const rows = await Promise.all(files.map(row));
  document.getElementById("files").replaceChildren(...rows);
})();
