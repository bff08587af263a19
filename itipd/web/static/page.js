// Keeps #live fresh: asks for its fragment every few seconds with the ETag it has, and puts in what came back.
// Without this file the page works the same, with a reload (see <noscript>). It never writes text as HTML of its own.
"use strict";
(() => {
  const live = document.getElementById("live");
  const pulse = document.getElementById("pulse");
  const every = 3000;
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  let failures = 0, timer = 0, asking = null;

  function ages() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      if (!time.title) time.title = time.textContent;
      const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
      const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || ["minute", 60];
      if (Math.abs(seconds) < 30 * 86400) time.textContent = relative.format(Math.round(seconds / size), unit);
    }
  }

  function put(html) {
    const open = [...live.querySelectorAll("details[open][id]")].map((details) => details.id);
    const focus = live.contains(document.activeElement) ? document.activeElement : null;
    const [id, href] = focus ? [focus.id, focus.getAttribute("href")] : ["", null];
    live.innerHTML = html;
    for (const name of open) document.getElementById(name)?.setAttribute("open", "");
    if (id) document.getElementById(id)?.focus({ preventScroll: true });
    else if (href) live.querySelector(`[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
  }

  async function ask() {
    clearTimeout(timer);
    asking?.abort();
    const mine = asking = new AbortController();
    try {
      const headers = live.dataset.etag ? { "If-None-Match": live.dataset.etag } : {};
      const response = await fetch(live.dataset.source, { headers, cache: "no-store", signal: mine.signal });
      if (response.status === 404) return location.reload();
      if (!response.ok && response.status !== 304) throw new Error(response.status);
      if (response.ok) {
        const html = await response.text();
        if (mine !== asking) return;
        live.dataset.etag = response.headers.get("ETag") || "";
        put(html);
      }
      if (failures) pulse.textContent = "";
      pulse.classList.remove("lost");
      failures = 0;
    } catch (error) {
      if (mine !== asking || error.name === "AbortError") return;
      if (failures++ === 1) {
        pulse.textContent = "Connection lost; trying again";
        pulse.classList.add("lost");
      }
    }
    ages();
    timer = setTimeout(ask, document.hidden ? every * 10 : Math.min(every * 2 ** failures, 30000));
  }

  if (!live) return;
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  const search = document.getElementById("q");
  search?.addEventListener("input", () => {
    const query = search.value.trim() ? "?q=" + encodeURIComponent(search.value.trim()) : "";
    history.replaceState(null, "", "/" + query);
    live.dataset.source = "/fragments/meetings" + query;
    live.dataset.etag = "";
    clearTimeout(timer);
    timer = setTimeout(ask, 200);
  });
  ages();
  timer = setTimeout(ask, every);
})();
