// Looks at the console as people do: node console.js GUARD FOLDER POLICY. The guard is
// fresh, its policy is that of TestConsole in the file POLICY, which is read again by
// POST /-/reload. Screenshots go into the folder.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { chromium } = require("playwright-core");

const [base, folder, policyFile] = process.argv.slice(2);
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const faults = [];
const patience = 120_000; // milliseconds, for a machine with much else to do
const wide = { viewport: { width: 1280, height: 860 } };
const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const tablet = { viewport: { width: 800, height: 1000 } };
const dark = { ...wide, colorScheme: "dark" };

async function push(job, body, want = 200) {
  const a = await fetch(`${base}/metrics/job/${encodeURIComponent(job)}`, { method: "POST", body });
  assert.strictEqual(a.status, want, `push of ${job}: ${await a.text()}`);
}

const labels = (n) => Array.from({ length: n }, (_, i) => `l${i}="v"`).join(",");

async function fill() {
  for (let i = 0; i < 6; i++) {
    for (const table of ["orders", "users"]) await push("nightly_load", `rows_loaded{table="${table}",run_id="r${i}"} ${i}\n`);
  }
  await push("checkout_export", Array.from({ length: 44 }, (_, i) => `queue_length{consumer="c${i}"} ${i}\n`).join(""));
  await push("forecast_train", Array.from({ length: 30 }, (_, i) => `loss{epoch="${i}",run_id="6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d"} 1\n`).join(""));
  await push("<b>bold", 'rows{user="<img src=x onerror=document.title=1>",run_id="<u>1"} 1\n');
  await push("a_long_name_".repeat(12), "rows 1\n");
  await push("billing_close", `x{${labels(20)}} 1\n`, 422);
  for (let i = 0; i < 110; i++) await push(`batch_${i}`, "duration_seconds 1\n");
}

// open looks at a page, which may neither complain nor be wider than the window.
async function open(context, at) {
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.on("console", (m) => m.type() === "error" && faults.push(`${at}: ${m.text()}`));
  page.on("pageerror", (e) => faults.push(`${at}: ${e.message}`));
  page.on("request", (r) => r.url().startsWith(base) || faults.push(`${at} asks ${r.url()}`));
  await page.goto(`${base}/guard/${at}`);
  await page.waitForSelector("h1");
  return page;
}

const allRules = { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] };
const contrast = { runOnly: { type: "rule", values: ["color-contrast"] } };
// The markup is the same in each look: all rules are asked of one, and of the dark its colours.
const looks = [["", wide, allRules], ["-phone", phone, null], ["-tablet", tablet, null], ["-dark", dark, contrast]];

// check has no page wider than the window, and none with a serious finding of axe-core.
async function check(page, name, rules = allRules) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${name} is ${over} pixels wider than the window`);
  if (!rules) return;
  await page.evaluate(axe); // past the page's own policy, which lets in no script
  const found = await page.evaluate((rules) => axe.run(document, rules), rules);
  for (const v of found.violations) {
    if (["serious", "critical"].includes(v.impact)) faults.push(`${name}: ${v.id}: ${v.nodes.map((n) => n.html).slice(0, 3).join(" | ")}`);
  }
}

const shot = (page, name) => page.screenshot({ path: path.join(folder, `${name}.png`) });
const text = (page, of) => page.locator(of).innerText();

const pages = [
  ["overview", ""], ["jobs", "jobs"], ["job", "job?name=forecast_train"], ["audit", "audit"], ["explain", "explain"], ["policy", "policy#L3"],
  ["groups", "../"],
];

// eachLook opens a page in the light, the dark, on a phone and on a tablet.
async function eachLook(browser, name, at, before = async () => {}) {
  for (const [suffix, look, rules] of looks) {
    const context = await browser.newContext(look);
    const page = await open(context, at);
    await before(page);
    await check(page, name + suffix, rules);
    await shot(page, name + suffix);
    await context.close();
  }
}

async function eachPage(browser) {
  for (const [name, at] of pages) await eachLook(browser, name, at);
  await eachLook(browser, "record", "audit?outcome=refused", async (page) => {
    await page.locator("#records a").first().click();
    await page.waitForURL(/record\?/);
  });
  await eachLook(browser, "explained", "explain", explainOne);
}

// sortsByEach clicks each heading twice: the column says so, and the rows turn round.
async function sortsByEach(page) {
  await page.goto(`${base}/guard/jobs?q=batch_10`);
  for (const name of ["Owner", "Mode", "Series held", "Of granted", "New, hour", "New, day", "Refused, hour", "Last push", "Enforcing would"]) {
    const heading = page.getByRole("columnheader", { name });
    const seen = [];
    for (let i = 0; i < 2; i++) {
      const before = page.url();
      await heading.getByRole("link").click();
      await page.waitForURL((url) => url.href !== before);
      seen.push(await heading.getAttribute("aria-sort"));
    }
    assert.deepStrictEqual(seen.sort(), ["ascending", "descending"], name);
  }
}

async function jobs(context) {
  const page = await open(context, "jobs");
  const first = () => page.locator("tbody th").first().innerText();
  assert.match(await text(page, ".count"), /1–100 of 116 jobs/);
  assert.strictEqual(await first(), "checkout_export"); // holds most
  await page.getByRole("link", { name: "further" }).click();
  await page.waitForURL(/page=2/);
  assert.match(await text(page, ".count"), /101–116 of 116/);
  await page.getByRole("link", { name: "Job", exact: true }).click();
  await page.waitForURL(/sort=job/);
  assert.strictEqual(await page.locator("th[aria-sort]").getAttribute("aria-sort"), "ascending");
  assert.strictEqual(await first(), "<b>bold");
  await page.getByLabel("Search").fill("billing");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=billing/);
  assert.match(await text(page, ".count"), /1–1 of 1 job/);
  await page.goto(`${base}/guard/jobs`);
  await page.getByLabel("Mode").selectOption("report"); // asks at once
  await page.waitForURL(/mode=report/);
  assert.strictEqual(await first(), "forecast_train");
  assert.match(await text(page, "td[data-label='Enforcing would']"), /change 1 of 1/);
  await page.goto(`${base}/guard/jobs`);
  await page.getByLabel("Owner").selectOption("data-eng");
  await page.waitForURL(/owner=data-eng/);
  assert.strictEqual(await first(), "nightly_load");
  await sortsByEach(page);
  await page.goto(`${base}/guard/jobs?owner=data-eng`);
  await page.getByRole("link", { name: "nightly_load" }).click();
  await page.getByRole("link", { name: "nightly_.*, line" }).click();
  await page.waitForURL(/policy#L/);
  assert.match(await text(page, "li:target"), /nightly_/);
  await page.close();
}

// labelsOfAJob tells what the values of labels are, and what sees to those without bound.
async function labelsOfAJob(context) {
  const page = await open(context, "job?name=forecast_train");
  const row = (label) => page.locator(".labels tbody tr", { has: page.locator("th", { hasText: new RegExp(`^${label}$`) }) });
  assert.match(await row("run_id").innerText(), /uuid\s+100 %\s+6f1c6c1e…/);
  assert.match(await row("run_id").innerText(), /run-ids would see to it/);
  assert.match(await row("epoch").innerText(), /30[^]*number\s+100 %/);
  await page.goto(`${base}/guard/job?name=checkout_export`);
  assert.match(await row("consumer").innerText(), /4[0-5]\s[^]*word\s+100 %/); // of 44; above 32 it is an estimate
  assert.match(await text(page, "main"), /1–1 of 1 group/);
  await page.close();
}

async function audit(context) {
  for (const [label, value, want] of [["Job", "billing_.*", "billing_close"], ["Owner", "data-eng", "nightly_load"], ["Finding", "label_limit", "billing_close"]]) {
    const page = await open(context, "audit");
    await page.getByLabel(label, { exact: true }).fill(value);
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL(/audit\?/);
    const found = await page.locator("#records th").allInnerTexts();
    assert.ok(found.length > 0 && found.every((job) => job === want), `${label}=${value}: ${found}`);
    await page.close();
  }
  // All pushes came from here, and within the hour: what is elsewhere or was before is empty.
  for (const [label, value, some] of [
    ["Client", "127.0.0.1", true], ["Client", "192.0.2.7", false], ["Since", "1h", true], ["Since", "2100-01-01T00:00:00Z", false],
    ["Until", "1h", false], ["Until", "2100-01-01T00:00:00Z", true],
  ]) {
    const page = await open(context, "audit");
    await page.getByLabel(label, { exact: true }).fill(value);
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL(/audit\?/);
    assert.strictEqual(await page.getByLabel(label, { exact: true }).inputValue(), value);
    const found = await page.locator("#records th").count();
    assert.ok(some ? found > 0 : found === 0, `${label}=${value}: ${found} records`);
    await page.getByRole("link", { name: "Show all" }).click();
    await page.locator("#records th").first().waitFor();
    await page.close();
  }
  const page = await open(context, "audit");
  for (const outcome of ["changed", "forecast", "refused"]) {
    await page.getByLabel("Outcome").selectOption(outcome); // asks at once
    await page.waitForURL(new RegExp(`outcome=${outcome}`));
    const came = await page.locator("#records td[data-label='Outcome']").allInnerTexts(); // it was, or would be
    assert.ok(came.every((t) => t.includes(outcome)) && (outcome === "forecast" || came.length > 0), `${outcome}: ${came}`);
  }
  await page.locator("#records a").first().click();
  await page.waitForURL(/record\?/);
  const record = await text(page, "main");
  for (const part of [/"outcome": "refused"/, /billing_close/, /Fix push at most 12 labels/, /422/, /POST from 127\.0\.0\.1/]) assert.match(record, part);
  await page.close();
}

// live pushes while a page is open: what comes stands there without a reload.
async function live(context) {
  const page = await open(context, "audit?outcome=refused");
  await page.waitForFunction(() => document.getElementById("live-state").textContent === "live");
  await push("live_one", `x{${labels(20)}} 1\n`, 422);
  await page.locator("#records th", { hasText: "live_one" }).waitFor();
  await page.waitForFunction(() => /1 new record/.test(document.getElementById("news").textContent));
  const overview = await open(context, "");
  await push("live_two", `x{${labels(20)}} 1\n`, 422);
  await overview.locator(".events", { hasText: "live_two" }).waitFor();
  await overview.getByRole("button", { name: "Pause" }).click();
  assert.strictEqual(await text(overview, "#live-state"), "paused");
  await page.close();
  await overview.close();
}

// undisturbed has a page change while somebody clicks, and while they have selected text: the
// click is one all the same, and what came stands there when the text is let go.
async function undisturbed(context) {
  const page = await open(context, "");
  const other = await open(context, "");
  const state = (word) => page.waitForFunction((w) => document.getElementById("live-state").textContent === w, word);
  await state("live");
  const seen = async (job, at) => {
    await push(job, `x{${labels(20)}} 1\n`, 422);
    await at.locator(".events", { hasText: job }).waitFor();
    await new Promise((done) => setTimeout(done, 500)); // the other page has it by now
  };
  await page.evaluate(() => window.getSelection().selectAllChildren(document.getElementById("health")));
  await seen("while_selected", other);
  await state("not live");
  assert.strictEqual(await page.locator(".events", { hasText: "while_selected" }).count(), 0);
  await page.evaluate(() => window.getSelection().removeAllRanges());
  await page.locator(".events", { hasText: "while_selected" }).waitFor();
  await state("live");
  await page.locator(".tiles a").first().hover();
  await page.mouse.down();
  await seen("while_pressed", other);
  await page.mouse.up();
  await page.waitForURL(/guard\/jobs$/);
  await page.close();
  await other.close();
}

// reconnects breaks a page's connection, and sees that it is live again by itself, and
// that what came meanwhile stands there once.
async function reconnects(context) {
  const sockets = new Set();
  let silent = false; // nothing comes through, and nobody says so
  const to = new URL(base);
  const between = net.createServer((near) => {
    const far = net.connect(to.port, to.hostname);
    for (const [a, b] of [[near, far], [far, near]]) {
      sockets.add(a);
      a.on("error", () => b.destroy());
      a.on("close", () => b.destroy());
      a.on("data", (data) => silent || b.write(data));
    }
  });
  await new Promise((done) => between.listen(0, "127.0.0.1", done));
  const page = await context.newPage();
  await page.addInitScript(() => { // silence is long after 5 seconds instead of 40
    const real = window.setTimeout;
    window.setTimeout = (f, ms) => real(f, ms === 40000 ? 5000 : ms);
  });
  await page.goto(`http://127.0.0.1:${between.address().port}${to.pathname.replace(/\/$/, "")}/guard/audit?outcome=refused`);
  const state = (word) => page.waitForFunction((w) => document.getElementById("live-state").textContent === w, word, { timeout: 60000 });
  await state("live");
  await push("before_it_broke", `x{${labels(20)}} 1\n`, 422);
  await page.locator("#records th", { hasText: "before_it_broke" }).waitFor({ timeout: 60000 });
  for (const s of sockets) s.destroy();
  await state("not live");
  await push("while_it_was_away", `x{${labels(20)}} 1\n`, 422);
  await state("live");
  await page.locator("#records th", { hasText: "while_it_was_away" }).waitFor({ timeout: 60000 });
  silent = true;
  await push("while_it_was_silent", `x{${labels(20)}} 1\n`, 422);
  await state("not live");
  silent = false;
  await state("live");
  await page.locator("#records th", { hasText: "while_it_was_silent" }).waitFor({ timeout: 60000 });
  for (const job of ["before_it_broke", "while_it_was_away", "while_it_was_silent"]) assert.strictEqual(await page.locator("#records th", { hasText: job }).count(), 1, `${job} stands there more than once`);
  await page.close();
  for (const s of sockets) s.destroy();
  await new Promise((done) => between.close(done));
}

async function explainOne(page) {
  let asked = 0;
  page.on("request", (r) => { if (r.method() === "POST") asked++; });
  await page.getByLabel("Method").selectOption("PUT"); // asks nothing before the rest is there
  await page.getByLabel("Path").fill("/metrics/job/nightly_load");
  await page.getByLabel("Body").fill('rows_loaded{table="items",run_id="r9"} 7\n');
  assert.strictEqual(asked, 0, "a push was explained that nobody had asked for");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.waitForSelector("#outcome");
  assert.match(await text(page, "main"), /run_id[^]*dropped/);
}

// markup is a job's name, the value of a label and a body to explain: it is shown, and is
// no element of any page.
async function markup(context) {
  const job = "<b>bold", value = "<img src=x onerror=document.title=1>";
  const foreign = (page) => page.locator("main :is(b:text-is('bold'), u, img, script)").count();
  for (const [at, shown] of [["jobs?q=bold", job], ["audit?job=.*bold", job], [`job?name=${encodeURIComponent(job)}`, "<img"]]) {
    const page = await open(context, at);
    assert.ok((await text(page, "main")).includes(shown), `${at} does not show ${shown}`);
    assert.strictEqual(await foreign(page), 0, `${at} has markup that was pushed`);
    await page.close();
  }
  const page = await open(context, "explain");
  await page.getByLabel("Path").fill("/metrics/job/nightly_load");
  await page.getByLabel("Body").fill(`rows{run_id="1",user="${value}"} 1\n</textarea><script>document.title=1</script>`);
  await page.getByRole("button", { name: "Explain" }).click();
  await page.waitForSelector("#outcome");
  assert.ok((await page.getByLabel("Body").inputValue()).includes("</textarea><script>"));
  assert.strictEqual(await foreign(page), 0, "explain has markup that was pasted");
  assert.match(await page.title(), /^Explain/);
  await page.close();
}

async function reload(want) {
  const a = await fetch(`${base}/-/reload`, { method: "POST" });
  assert.strictEqual(a.status, want, await a.text());
}

// policies reads a policy with faults, which stand with their lines on the page while the
// one before stays in force, and then one that differs, whose changes stand there.
async function policies(browser) {
  const good = fs.readFileSync(policyFile, "utf8");
  fs.writeFileSync(policyFile, good.replace("mode: report", "mode: <i>maybe").replace("action: drop", "action: dorp"));
  await reload(422);
  await eachLook(browser, "policy-faults", "policy", async (page) => {
    assert.match(await text(page, "#faults"), /2 faults in the policy that was refused/);
    const faults = await page.locator(".findings li").allInnerTexts();
    for (const [i, parts] of [[/:10:/, /dorp/], [/:13:/, /<i>maybe/]].entries()) for (const part of parts) assert.match(faults[i], part);
    assert.match(await text(page, ".code"), /mode: report/); // in force
  });
  const overview = await open(await browser.newContext(wide), "");
  assert.match(await text(overview, ".notice"), /The last policy was refused/);
  await overview.close();
  fs.writeFileSync(policyFile, good.replace("series: 25", "series: 30"));
  await reload(200);
  await eachLook(browser, "policy-changed", "policy", async (page) => {
    assert.match(await text(page, "main"), /What it changed[^]*forecast_/);
    assert.strictEqual(await page.locator("#faults").count(), 0);
  });
}

// byKeyboard reaches the content past the navigation, and sees where it is.
async function byKeyboard(context) {
  const page = await open(context, "jobs");
  await page.keyboard.press("Tab");
  assert.strictEqual(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.strictEqual(await page.evaluate(() => document.activeElement.name), "q");
  assert.notStrictEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
  await page.close();
}

async function withoutScripts(browser) {
  const context = await browser.newContext({ ...wide, javaScriptEnabled: false });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  await page.goto(`${base}/guard/jobs`);
  await page.getByLabel("Search").fill("forecast");
  await page.getByRole("button", { name: "Show" }).click();
  assert.match(await text(page, ".count"), /1–1 of 1 job/);
  await page.goto(`${base}/guard/`);
  await page.getByRole("link", { name: "own page" }).click();
  assert.strictEqual(new URL(page.url()).pathname, new URL(base).pathname.replace(/\/?$/, "/"));
  await context.close();
}

(async () => {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium-headless-shell",
    timeout: patience,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const empty = await open(await browser.newContext(wide), "jobs");
    assert.match(await text(empty, ".empty"), /Nothing was pushed yet/);
    await empty.close();
    await fill();
    await new Promise((done) => setTimeout(done, 2200)); // pages share what was seen two seconds ago
    await eachPage(browser);
    const context = await browser.newContext(wide);
    for (const story of [jobs, labelsOfAJob, audit, markup, live, undisturbed, reconnects, byKeyboard]) await story(context);
    await withoutScripts(browser);
    await policies(browser);
    assert.deepStrictEqual(faults, []);
  } finally {
    await browser.close();
  }
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
