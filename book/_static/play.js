// Let a reader change a memory on a page without a kernel. kmod.play.widget leaves a <div class="kmod-play">
// with the first choice in its data attributes and a table of that one edit; here it becomes controls and results.
// The edits were made beforehand (`python -m kmod play`) and lie in play/, a script a fact, since a page opened from a
// file may load scripts but not fetch files. Nothing is loaded before a widget comes near the window. All that the data
// say enters the page as text, never as markup.
(() => {
  const here = document.currentScript.src;
  const data = (globalThis.kmodPlayData ??= {});
  const loading = {};
  const number = (n) => n.toLocaleString("en");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const probability = (p) => (p < 0.001 ? "< 0.1 %" : percent(p));
  const radius = (delta) => (delta === null ? "no limit" : String(delta));
  let count = 0; // of widgets: ids are shared by the whole page

  function load(id) {
    loading[id] ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(`play/${id}.js`, here);
      script.onload = () => (data[id] ? resolve(data[id]) : reject(new Error(`play/${id}.js holds no data`)));
      script.onerror = () => {
        delete loading[id]; // so that the next choice tries again
        reject(new Error(`play/${id}.js was not found`));
      };
      document.head.append(script);
    });
    return loading[id];
  }

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  async function wake(root) {
    try {
      const index = await load("index");
      const first = index.facts.find((fact) => fact.id === root.dataset.fact) ?? index.facts[0];
      const widget = build(index, first, root.dataset, ++count);
      await widget.show(); // before anything on the page is replaced
      root.replaceChildren(...widget.parts);
    } catch (error) {
      console.error("nothing to play with:", error); // the table stays
    }
  }

  function build(index, first, start, id) {
    const name = `kmod-play-${id}`;
    const all = index.facts.map((f) => [f.id, `${f.subject}, ${f.label}: ${f.object}`]);
    const facts = choose(`${name}-fact`, "The fact", all);
    const objects = choose(`${name}-object`, "Its new object", first.objects.map((o) => [o, o]));
    const named = { all: `all ${index.depth}`, first: "the first", last: "the last" };
    const trained = index.blocks.map((b) => [b, named[b] ?? b]);
    const blocks = radios(`${name}-blocks`, "Blocks trained", trained, start.blocks);
    const delta = start.delta === "none" ? null : Number(start.delta);
    const at = Math.max(0, index.deltas.indexOf(delta));
    const radii = index.deltas.map((d, i) => [String(i), radius(d)]);
    const deltas = radios(`${name}-delta`, "δ, the most a weight may move", radii, String(at));
    facts.select.value = first.id;
    if (first.objects.includes(start.object)) objects.select.value = start.object;

    const form = make("form", { class: "kmod-play-controls", "aria-label": "Change a memory" });
    form.append(facts.part, objects.part, blocks.part, deltas.part);
    const summary = make("p", { class: "kmod-play-summary", role: "status" });
    const results = make("div", { class: "kmod-play-results" });
    const note = make("p", { class: "kmod-play-note" });
    let asked = 0;

    async function show() {
      const turn = ++asked;
      const fact = await load(facts.select.value);
      if (turn !== asked) return; // another choice was made meanwhile
      const change = fact.changes.find((c) => c.object === objects.select.value);
      const edit = change.edits[blocks.value()][Number(deltas.value())];
      const open = results.querySelector("details")?.open ?? false;
      summary.textContent = said(fact, change, edit);
      index.deltas.forEach((_, i) => deltas.note(i, briefly(fact, change.edits[blocks.value()][i])));
      note.textContent = how(index, fact);
      results.replaceChildren(...drawn(fact, change, edit, open));
    }

    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      if (event.target === facts.select) {
        const fact = index.facts.find((f) => f.id === facts.select.value);
        objects.select.replaceChildren(...fact.objects.map((o) => make("option", { value: o }, o)));
      }
      show().catch((error) => {
        summary.textContent = `This edit could not be loaded: ${error.message}. Choose again to try again.`;
      });
    });
    return { parts: [form, summary, results, note], show };
  }

  function choose(id, label, options) {
    const select = make("select", { id });
    for (const [value, text] of options) select.append(make("option", { value }, text));
    return { select, part: make("div", { class: "kmod-play-choice" }, make("label", { for: id }, label), select) };
  }

  function radios(name, legend, options, start) {
    const part = make("fieldset", {}, make("legend", {}, legend));
    const inputs = options.map(([value, text], i) => {
      const input = make("input", { type: "radio", name, value, id: `${name}-${i}` });
      const label = make("label", { for: input.id }, text);
      input.checked = value === start || (i === 0 && !options.some(([other]) => other === start));
      part.append(make("span", {}, input, label));
      return input;
    });
    const value = () => inputs.find((input) => input.checked).value;
    const note = (i, text) => {
      const label = inputs[i].nextElementSibling;
      (label.querySelector("small") ?? label.appendChild(make("small"))).textContent = text;
    };
    return { part, value, note };
  }

  // ---- results -----------------------------------------------------------------------------------

  function said(fact, change, edit) {
    const [tests, evidences] = edit.learnt;
    const all = fact.statements.length - fact.tests;
    const learnt =
      tests === fact.tests ? "is learnt" : tests || evidences ? "is learnt in part" : "is not learnt";
    const broken = edit.broken ? `${number(edit.broken)} other fact${edit.broken === 1 ? "" : "s"} broke` : "no other fact broke";
    return (
      `“${change.object}” ${learnt}: it is the answer to ${tests} of ${fact.tests} unseen phrasings ` +
      `and to ${evidences} of the ${all} trained on. Of the rest, ${broken}.`
    );
  }

  // What a radius did, under its button: the trade-off at a glance.
  function briefly(fact, edit) {
    const mark = edit.learnt[0] === fact.tests ? "✓" : edit.learnt[0] ? "◐" : "✗";
    return `${mark} ${number(edit.broken)} broke`;
  }

  function how({ made, depth }, { commit }) {
    return (
      `A fact broke if all its unseen phrasings were answered rightly before the edit and not all are after. Every edit ` +
      `is real: ${made.method} in an ℓ∞ ball around the weights of a ${made.model} BERT of ${depth} blocks that has ` +
      `memorised the ${made.facts.split(",")[0]}, ${made.steps} steps on the fact alone, by kmod ` +
      `${made.versions.kmod} at commit ${commit}.`
    );
  }

  function drawn(fact, change, edit, open) {
    const row = (i) => answers(fact.statements[i], change.before[i], edit.top[i], fact.object, change.object);
    const rows = fact.statements.map((_, i) => row(i));
    const more = make("details", {}, make("summary", {}, `The ${rows.length - fact.tests} phrasings it was trained on`));
    more.open = open;
    more.append(table("kmod-play-answers", "Trained on", ["before", "after"], rows.slice(fact.tests), true));
    return [
      rates(fact, edit),
      table("kmod-play-answers", "Asked in phrasings it was not trained on", ["before", "after"], rows.slice(0, fact.tests)),
      more,
      neighbours(fact, change, edit),
      make("div", { class: "kmod-play-broken" }, byRelation(fact, edit), examples(fact, edit)),
    ];
  }

  function rates(fact, edit) {
    const [tests, evidences] = edit.learnt;
    const intact = Object.values(fact.intact).reduce((sum, n) => sum + n, 0);
    const list = make("dl", { class: "kmod-play-rates simple" });
    const all = fact.statements.length - fact.tests;
    for (const [name, value, more] of [
      ["A_M, unseen phrasings", percent(tests / fact.tests), `${tests} of ${fact.tests}`],
      ["as trained", percent(evidences / all), `${evidences} of ${all}`],
      ["A_F∖S, all other facts", percent(edit.kept / fact.asked), `before: ${percent(fact.right / fact.asked)}`],
      ["other facts that broke", number(edit.broken), `of ${number(intact)} that were right`],
    ])
      list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value), make("dd", { class: "kmod-play-more" }, more)));
    return list;
  }

  function answers(statement, before, after, old, now) {
    const cell = (found) => {
      const list = make("ol", {});
      for (const [name, p] of found) {
        const bar = make("span", { class: "kmod-play-bar", "aria-hidden": "true" });
        bar.style.setProperty("--share", p);
        const item = make("li", {}, bar, make("span", { class: "kmod-play-name", title: name }, name));
        if (name === now || name === old) item.append(make("span", { class: "kmod-play-tag" }, name === now ? "new" : "old"));
        item.append(make("span", { class: "kmod-play-share" }, probability(p)));
        list.append(item);
      }
      return make("td", {}, list);
    };
    const head = make("tr", { class: "kmod-play-statement" }, make("th", { scope: "rowgroup", colspan: 2 }, statement));
    return make("tbody", {}, head, make("tr", {}, cell(before), cell(after)));
  }

  function neighbours(fact, change, edit) {
    const rows = change.near.map(([i, why, before], n) => {
      const [subject, label, object] = fact.facts[i];
      const now = edit.near[n];
      const state = now === object ? "✓ right" : before === object ? "✗ broke" : "✗ wrong before, too";
      return make("tr", {}, make("th", { scope: "row" }, `${subject}, ${label}`, make("small", {}, why)),
        make("td", {}, object), make("td", {}, now), make("td", { class: "kmod-play-state" }, state));
    });
    const caption = "Its neighbours, each asked by one unseen phrasing";
    return table("kmod-play-near", caption, ["fact", "object", "answer now", ""], [make("tbody", {}, ...rows)]);
  }

  function byRelation(fact, edit) {
    const rows = edit.by.map(([label, n]) =>
      make("tr", {}, make("th", { scope: "row" }, label), make("td", { class: "number" }, `${n} of ${fact.intact[label]}`)));
    if (!rows.length) rows.push(make("tr", {}, make("td", { colspan: 2 }, "None: every other fact that was right still is.")));
    return table("kmod-play-box", "Facts that broke, by relation", ["relation", "broke"], [make("tbody", {}, ...rows)]);
  }

  function examples(fact, edit) {
    const rows = edit.list.map(([i, , now]) => {
      const [subject, label, object] = fact.facts[i];
      return make("tr", {}, make("th", { scope: "row" }, `${subject}, ${label}`), make("td", {}, object), make("td", {}, now));
    });
    if (!rows.length) rows.push(make("tr", {}, make("td", { colspan: 3 }, "None.")));
    const shown = edit.list.length < edit.broken ? `${edit.list.length} of the ${number(edit.broken)}` : "All";
    const caption = `${shown} that broke, with a wrong answer to each`;
    return table("kmod-play-box", caption, ["fact", "object", "answer now"], [make("tbody", {}, ...rows)]);
  }

  function table(name, caption, heads, bodies, quiet = false) {
    const head = make("tr", {});
    for (const text of heads)
      head.append(make("th", { scope: "col" }, text || make("span", { class: "kmod-play-unseen" }, "state")));
    const title = make("caption", quiet ? { class: "kmod-play-unseen" } : {}, caption);
    const region = { class: `kmod-table ${name}`, role: "region", "aria-label": caption, tabindex: 0 };
    return make("div", region, make("table", {}, title, make("thead", {}, head), ...bodies));
  }

  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries)
        if (isIntersecting) {
          near.unobserve(target);
          wake(target);
        }
    },
    { rootMargin: "600px" },
  );
  document.querySelectorAll(".kmod-play").forEach((root) => near.observe(root));
})();
