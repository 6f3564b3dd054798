// What the pages do by themselves. Without it they show what was when they were loaded.
"use strict";

(() => {
  const source = document.body.dataset.live;
  const box = document.querySelector(".live");
  const state = document.getElementById("live-state");
  const toggle = document.getElementById("live-toggle");
  const news = document.getElementById("news");
  const most = 200;
  const quiet = 40000; // milliseconds: a stream says every 15 seconds that it lives

  // What a list is filtered by is asked for as soon as it is chosen. A push to explain is not:
  // its method is chosen before the rest is there.
  for (const select of document.querySelectorAll("form[method=get] select")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }

  if (!source || !window.EventSource) return;
  let stream = null;
  let paused = false;
  let retry = 0;
  let watch = 0;
  let pressed = false; // a click is not over yet
  let held = null; // a change that waits until whoever copies or clicks is done
  let waiting = 0; // records that came since they were last told of
  let last = ""; // the id of the last message: whoever comes again goes on from there

  const show = (word, on) => {
    box.hidden = false;
    box.classList.toggle("on", on);
    state.textContent = word;
  };

  // The element that has the focus is found again by what it is.
  const focused = (part) => {
    const at = document.activeElement;
    if (!at || !part.contains(at)) return null;
    const same = part.querySelectorAll(at.tagName);
    const href = at.getAttribute("href");
    const index = Array.prototype.indexOf.call(same, at);
    return () => {
      const now = Array.from(part.querySelectorAll(at.tagName));
      const found = (href && now.find((e) => e.getAttribute("href") === href)) || now[index];
      if (found) found.focus({ preventScroll: true });
    };
  };

  const selecting = (part) => {
    const s = window.getSelection();
    return s && !s.isCollapsed && part.contains(s.anchorNode);
  };

  const replace = (part, html) => {
    held = null;
    if (pressed || selecting(part)) {
      held = () => replace(part, html);
      if (!pressed) show("not live", false);
      return;
    }
    const again = focused(part);
    const open = Array.from(part.querySelectorAll("details"), (d) => d.open);
    const scrolled = Array.from(part.querySelectorAll(".scroll"), (d) => [d.scrollLeft, d.scrollTop]);
    part.innerHTML = html;
    part.querySelectorAll("details").forEach((d, i) => { d.open = open[i] || false; });
    part.querySelectorAll(".scroll").forEach((d, i) => { if (scrolled[i]) [d.scrollLeft, d.scrollTop] = scrolled[i]; });
    if (again) again();
  };

  const release = () => {
    if (!held || paused) return;
    if (stream && stream.readyState === EventSource.OPEN) show("live", true);
    held();
  };
  document.addEventListener("selectionchange", release);
  document.addEventListener("pointerdown", (event) => { pressed = event.button === 0; });
  for (const done of ["pointerup", "pointercancel"]) {
    document.addEventListener(done, () => setTimeout(() => { pressed = false; release(); }, 0)); // behind the click
  }

  const put = (part, message) => {
    const rows = document.createElement("tbody");
    rows.innerHTML = message.html;
    // A record that came while the page was made is on it already.
    const links = (of) => Array.from(of.querySelectorAll("td:first-child a"), (a) => a.getAttribute("href"));
    const known = new Set(links(part).filter(Boolean));
    const fresh = Array.from(rows.children).filter((row) => !links(row).some((href) => known.has(href)));
    if (!fresh.length) return;
    for (const row of fresh) row.classList.add("fresh");
    part.prepend(...fresh);
    setTimeout(() => fresh.forEach((row) => row.classList.remove("fresh")), 4000);
    for (const again of part.querySelectorAll(".missed a")) again.onclick = () => location.reload();
    while (part.children.length > most) part.lastElementChild.remove();
    document.getElementById("no-records")?.remove();
    if (!waiting) {
      setTimeout(() => {
        news.textContent = (waiting === 1 ? "1 new record" : waiting + " new records") + (part.querySelector(".missed") ? ", and some that are not shown" : "");
        waiting = 0;
      }, 1000);
    }
    waiting += message.number || 0;
  };

  // A connection may be gone without a word: a network that was left, a laptop that slept.
  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(() => { show("not live", false); open(); }, quiet);
  };

  const close = () => {
    clearTimeout(retry);
    clearTimeout(watch);
    if (stream) stream.close();
    stream = null;
  };

  const open = () => {
    close();
    stream = new EventSource(last ? source + "&last=" + encodeURIComponent(last) : source);
    heard();
    stream.onopen = () => { heard(); show("live", true); };
    stream.addEventListener("here", heard);
    stream.onmessage = (event) => {
      heard();
      const message = JSON.parse(event.data);
      last = event.lastEventId;
      const part = document.getElementById(message.id);
      if (!part) return;
      if (message.before) put(part, message);
      else replace(part, message.html);
    };
    stream.onerror = () => {
      show("not live", false);
      // Whoever was turned away asks again later; a connection that broke comes back by itself.
      if (stream && stream.readyState === EventSource.CLOSED) retry = setTimeout(open, 30000);
    };
  };

  toggle.addEventListener("click", () => {
    paused = !paused;
    toggle.setAttribute("aria-pressed", String(paused));
    if (paused) { close(); show("paused", false); } else if (document.getElementById("records")) { location.reload(); } else { open(); }
  });
  // A page that nobody looks at takes no stream from those who look.
  document.addEventListener("visibilitychange", () => {
    if (paused) return;
    if (document.hidden) close();
    else if (document.getElementById("records")) location.reload();
    else open();
  });
  show("connecting", false);
  open();
})();
