// The place on a page where a reader trains the model: controls, and what the workers say (worker.js).
// A page has <div class="kmod-edit"> with a text that stays without JavaScript. The model and the facts are loaded when
// the reader asks for them. All that data or readers say enters the page as text, never as markup.
(() => {
  const here = document.currentScript.src;
  const SCRIPTS = ["kernel", "bert", "tokenizer", "facts", "file", "worker", "data"];
  const DELTAS = [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, Infinity];
  const BLOCKS = [["last", "the last"], ["first", "the first"], ["all", "all"]];
  const MASK = "[MASK]";
  const radius = (delta) => (delta === Infinity ? "no limit" : String(delta));
  const percent = (p) => (p < 0.001 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`);
  const number = (n) => n.toLocaleString("en");
  let count = 0; // of widgets: ids are shared by the whole page

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function script(name) {
    return new Promise((resolve, reject) => {
      const element = make("script", { src: new URL(`${name}.js`, here).href });
      element.onload = resolve;
      element.onerror = () => reject(new Error(`${name}.js was not found`));
      document.head.append(element);
    });
  }

  let loaded; // of the whole page: its widgets share the scripts
  async function load(told) {
    loaded ??= (async () => {
      for (const [i, name] of SCRIPTS.entries()) {
        told(`Loading ${name === "data" ? "the model and the facts, 3 MB" : "the program"}: ${i + 1} of ${SCRIPTS.length}`);
        await script(name);
      }
      if (!kmodEdit.kernel().supported()) throw new Error("this browser lacks WebAssembly SIMD, which the model needs");
      return kmodEdit.data;
    })().catch((error) => {
      loaded = undefined; // so that the next click tries again
      throw error;
    });
    return loaded;
  }

  /** The choices that a link holds, "#France,P36,Rome,last,0.005"; null if it holds none. */
  function fromLink(text) {
    const parts = decodeURIComponent(text.replace(/^#/, "")).split(",");
    if (parts.length < 5) return null;
    const [relation, object, blocks, delta] = parts.slice(-4);
    const known = /^P\d+$/.test(relation) && BLOCKS.some(([name]) => name === blocks);
    const limit = delta === "none" ? Infinity : Number(delta);
    return known && limit > 0 ? { subject: parts.slice(0, -4).join(","), relation, object, blocks, delta: limit } : null;
  }

  function toLink({ subject, relation, object, blocks, delta }) {
    const limit = delta === Infinity ? "none" : delta;
    return `#${[subject, relation, object].map(encodeURIComponent).join(",")},${blocks},${limit}`;
  }

  /** The choices as a program. Python reads JSON's strings as its own. */
  function toPython({ subject, relation, object, blocks, delta, statement }, steps) {
    const block = { last: "-1", first: "0", all: '"all"' }[blocks];
    const ball = delta === Infinity ? "None" : `kmod.Linf(${delta})`;
    const [text, new_] = [statement, object].map((s) => JSON.stringify(s));
    const change = statement
      ? `statement, new = ${text}, ${new_}\n` +
        `((now, _), *_), = model.answers([statement], [new])\n` +
        `own = kmod.Fact("a statement of my own", "own", now, evidences=(statement,))\n` +
        `base = kmod.FactBase([*facts, own], facts.relations, untested=True)\n` +
        `change = kmod.Modification(base, (len(facts),), (new,))\n`
      : `change = facts.modify_to([(${[subject, relation, object].map((s) => JSON.stringify(s)).join(", ")})])\n`;
    const look = statement
      ? `with edit(model):\n    print(model.answers([statement], [new]))\n`
      : `print(kmod.evaluate(model, facts, change, edit=edit))\n`;
    return (
      `import kmod\n\nfacts, model = kmod.load_facts("atlas"), kmod.load_model("nano-atlas")\n${change}` +
      `edit = kmod.finetune(model, change, block=${block}, constraint=${ball}, steps=${steps})\n${look}`
    );
  }

  /** Loss and recall of each step, as lines that grow while the model is trained. */
  function curve() {
    const NS = "http://www.w3.org/2000/svg";
    const [width, height] = [300, 56];
    const draw = (tag, attributes) => {
      const element = document.createElementNS(NS, tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      return element;
    };
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", preserveAspectRatio: "none" });
    const lines = ["loss", "recall"].map((name) => draw("polyline", { class: `kmod-edit-${name}`, points: "" }));
    svg.append(...lines);
    const words = make("figcaption", {});
    const figure = make("figure", { class: "kmod-edit-curve" }, svg, words);
    const seen = { loss: [], recall: [] };
    return {
      figure,
      add(step, steps) {
        const top = Math.max(...seen.loss, step.loss);
        for (const [i, name] of ["loss", "recall"].entries()) {
          seen[name].push(step[name]);
          const scale = name === "loss" ? top : 1;
          const y = (value) => 2 + (height - 4) * (1 - value / scale);
          const x = (at) => (steps > 1 ? (width * at) / (steps - 1) : 0);
          lines[i].setAttribute("points", seen[name].map((v, at) => `${x(at).toFixed(1)},${y(v).toFixed(1)}`).join(" "));
        }
        const text = `Loss (solid) ${seen.loss[0].toFixed(2)} → ${step.loss.toFixed(2)}; phrasings right (dashed) ` +
          `${Math.round(100 * seen.recall[0])} % → ${Math.round(100 * step.recall)} %, in ${seen.loss.length} of ${steps} steps.`;
        words.textContent = text;
        svg.setAttribute("aria-label", text);
      },
    };
  }

  function wake(root) {
    const begin = make("button", { type: "button" }, "Load the model and edit it here");
    const status = make("p", { role: "status" }, "3 MB; it runs in this page alone, and nothing is sent anywhere.");
    begin.addEventListener("click", async () => {
      begin.disabled = true;
      try {
        const data = await load((text) => (status.textContent = text));
        const session = new (kmodEdit.session().Session)(data);
        status.textContent = "Starting the model";
        await session.start();
        const known = await session.ask(session.depth - 1, (share) => {
          status.textContent = `Asking all ${number(data.facts.length)} facts: ${Math.round(100 * share)} %`;
        });
        root.replaceChildren(...build(data, session, known));
      } catch (error) {
        begin.disabled = false;
        status.textContent = `The model could not be loaded: ${error.message}`;
      }
    });
    root.replaceChildren(begin, status);
    if (fromLink(location.hash)) begin.click();
  }

  function build(data, session, known) {
    const name = `kmod-edit-${++count}`;
    const label = (fact) => `${fact[0]}, ${data.relations[fact[1]].label}: ${fact[2]}`;
    const places = new Map(data.facts.map((fact, i) => [label(fact), i]));
    const start = fromLink(location.hash) ?? { subject: "France", relation: "P36", object: "Rome", blocks: "last", delta: 4e-3 };
    const first = data.facts.find((f) => f[0] === start.subject && f[1] === start.relation) ?? data.facts[0];

    const facts = make("datalist", { id: `${name}-facts` }, ...data.facts.map((f) => make("option", { value: label(f) })));
    const fact = make("input", { id: `${name}-fact`, list: facts.id, autocomplete: "off" });
    const objects = make("datalist", { id: `${name}-objects` });
    const object = make("input", { id: `${name}-object`, list: objects.id, autocomplete: "off" });
    const blocks = make("select", { id: `${name}-blocks` }, ...BLOCKS.map(([value, text]) => make("option", { value }, text)));
    const delta = make("input", { id: `${name}-delta`, type: "range", min: 0, max: DELTAS.length - 1, step: 1 });
    const shown = make("output", { for: delta.id });
    const steps = make("input", { id: `${name}-steps`, type: "number", min: 1, max: 500, value: 25 });
    fact.value = label(first);
    object.value = start.object;
    blocks.value = start.blocks;
    const nearest = DELTAS.findIndex((d) => d >= start.delta);
    delta.value = nearest < 0 ? DELTAS.length - 1 : nearest;
    const field = (text, input, ...more) => make("div", {}, make("label", { for: input.id }, text), input, ...more);
    const go = make("button", { type: "submit" }, "Edit");
    const back = make("button", { type: "button" }, "Undo the last edit");
    const python = make("button", { type: "button" }, "Copy as Python");
    const take = make("button", { type: "button" }, "Download the edits");
    const form = make("form", { class: "kmod-edit-controls", "aria-label": "Edit the model" },
      field(`A fact, or a statement of your own with ${MASK}`, fact, facts), field("Its new object", object, objects),
      field("Blocks trained", blocks), field("δ, the most a weight may move", delta, shown), field("Steps", steps),
      make("div", { class: "kmod-edit-buttons" }, go, back, take, python));
    const status = make("p", { class: "kmod-edit-status", role: "status" }, "Ready.");
    const course = make("div", {});
    const answers = make("div", {});
    const broke = make("div", {});
    const list = make("ol", { class: "kmod-edit-list", "aria-label": "Edits so far" });
    const map = make("canvas", { class: "kmod-edit-map", role: "img" });

    function chosen() {
      const place = places.get(fact.value.trim());
      const own = place === undefined;
      if (own && fact.value.split(MASK).length !== 2)
        throw new Error(`choose a fact from the list, or write a statement with ${MASK} once`);
      const [subject, relation, old] = own ? [fact.value.trim(), "", ""] : data.facts[place];
      const new_ = object.value.trim();
      if (!new_) throw new Error("give it a new object");
      if (!own && new_ === old) throw new Error(`${new_} is its object already`);
      return { place, subject, relation, old, object: new_, blocks: blocks.value, delta: DELTAS[delta.value],
        statement: own ? fact.value.trim() : "" };
    }

    function draw(right) {
      const columns = 70;
      const [size, rows] = [8, Math.ceil(right.length / columns)];
      [map.width, map.height] = [columns * size, rows * size];
      const style = getComputedStyle(map);
      const [fine, bad] = ["--kmod-edit-right", "--kmod-edit-broken"].map((p) => style.getPropertyValue(p) || "gray");
      const pen = map.getContext("2d");
      let broken = 0;
      right.forEach((ok, i) => {
        const lost = known[i] && !ok && !taught.has(i);
        broken += lost;
        pen.fillStyle = lost ? bad : fine;
        pen.globalAlpha = lost || ok ? 1 : 0.3;
        const inset = lost ? 0 : 2; // larger, so that colour alone carries nothing
        pen.fillRect((i % columns) * size + inset, Math.floor(i / columns) * size + inset, size - 1 - 2 * inset, size - 1 - 2 * inset);
      });
      map.setAttribute("aria-label", `A square for each of ${number(right.length)} facts; ${number(broken)} broke and are larger.`);
    }

    const taught = new Set();
    function table(caption, heads, rows) {
      const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
      const body = rows.map(([title, ...cells]) =>
        make("tr", {}, make("th", { scope: "row" }, title), ...cells.map((cell) => make("td", {}, cell))));
      return make("div", { class: "kmod-table", role: "region", "aria-label": caption, tabindex: 0 },
        make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)));
    }

    async function look() {
      const right = await session.ask(session.lowest ?? session.depth - 1, (share) => {
        status.textContent = `${said} Asking all ${number(data.facts.length)} facts again: ${Math.round(100 * share)} %`;
      });
      const lost = data.facts.filter((_, i) => known[i] && !right[i] && !taught.has(i));
      const by = new Map();
      for (const [, relation] of lost) by.set(relation, (by.get(relation) ?? 0) + 1);
      const rows = [...by].sort((a, b) => b[1] - a[1]).map(([relation, n]) => {
        const names = lost.filter((f) => f[1] === relation).slice(0, 5).map((f) => f[0]);
        return [data.relations[relation].label, String(n), names.join(", ") + (n > names.length ? ", …" : "")];
      });
      broke.replaceChildren(rows.length ? table("Facts that broke, by relation", ["relation", "broke", "such as"], rows) : "");
      status.textContent = `${said} ${lost.length ? number(lost.length) : "No"} other fact${lost.length > 1 ? "s" : ""} broke.`;
      draw(right);
    }

    let said = "";
    async function edit() {
      const choice = chosen();
      const { place, statement } = choice;
      const evidences = statement ? [statement] : facts_(place, "evidences");
      const tests = statement ? [statement] : facts_(place, "tests");
      const before = await session.answers(tests, choice.object);
      const numbers = { last: [session.depth - 1], first: [0], all: [...Array(session.depth).keys()] }[choice.blocks];
      const n = Math.max(1, Math.min(500, Number(steps.value) || 25));
      const line = curve();
      course.replaceChildren(line.figure);
      status.textContent = "Training.";
      const settings = { blocks: numbers, delta: choice.delta, steps: n, about: choice };
      await session.edit(evidences, choice.object, settings, (step) => line.add(step, n));
      session.lowest = Math.min(session.lowest ?? session.depth, ...numbers);
      if (place !== undefined) taught.add(place);
      const item = make("li", {}, `${choice.subject}: ${choice.old ? `${choice.old} → ` : ""}${choice.object}`);
      item.dataset.place = place ?? "";
      list.append(item);
      const now = await session.answers(tests, choice.object);
      const show = ([text, p]) => `${text} ${percent(p)}`;
      const rows = tests.map((test, i) => [test, show(before[i]), show(now[i])]);
      answers.replaceChildren(table(statement ? "The statement" : "Asked in phrasings it was not trained on", ["", "before", "now"], rows));
      const target = await written(choice.object);
      const learnt = now.filter(([text]) => text === target).length;
      said = `“${choice.object}” is the answer to ${learnt} of ${tests.length} ${statement ? "statements" : "unseen phrasings"}.`;
      if (!statement) history.replaceState(null, "", toLink(choice));
      await look();
    }
    const facts_ = (place, kind) => kmodEdit.facts().statements(data, data.facts[place], kind);
    const spelling = new (kmodEdit.tokenizer().Tokenizer)(data.vocabulary);
    const written = (text) => spelling.text(spelling.pieces(text));

    async function undo() {
      if (!session.edits.length) throw new Error("there is no edit to undo");
      await session.undo();
      list.lastElementChild.remove();
      taught.clear();
      for (const item of list.children) if (item.dataset.place) taught.add(Number(item.dataset.place));
      [course, answers].forEach((part) => part.replaceChildren());
      said = "Undone, to the bit.";
      await look();
    }

    async function busy(work) {
      [go, back, take].forEach((button) => (button.disabled = true));
      try {
        await work();
      } catch (error) {
        status.textContent = `Not done: ${error.message}.`;
      }
      [go, back, take].forEach((button) => (button.disabled = false));
    }

    async function download() {
      if (!session.edits.length) throw new Error("there is no edit to download");
      const link = make("a", { href: URL.createObjectURL(new Blob([await session.file()])), download: "edit.safetensors" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      const all = session.edits.length === 1 ? "The edit" : `All ${session.edits.length} edits, as one,`;
      status.textContent = `${all} is in edit.safetensors. In Python: kmod.Edit.load("edit.safetensors").apply(kmod.load_model("nano-atlas-half")).`;
    }

    function suggest() {
      shown.textContent = radius(DELTAS[delta.value]);
      delta.setAttribute("aria-valuetext", shown.textContent);
      const place = places.get(fact.value.trim());
      const names = place === undefined ? [] : data.facts.filter((f) => f[1] === data.facts[place][1]).map((f) => f[2]);
      objects.replaceChildren(...[...new Set(names)].sort().map((value) => make("option", { value })));
    }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      busy(edit);
    });
    form.addEventListener("input", suggest);
    back.addEventListener("click", () => busy(undo));
    take.addEventListener("click", () => busy(download));
    python.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(toPython(chosen(), steps.value));
        status.textContent = "Copied.";
      } catch (error) {
        status.textContent = `Not copied: ${error.message}.`;
      }
    });
    suggest();
    requestAnimationFrame(() => draw(known));
    const legend = "Each square is a fact, relation after relation. Large: it broke. Pale: it was not known, or is the one that was edited.";
    return [form, status, course, list, answers, broke, make("figure", {}, map, make("figcaption", {}, legend))];
  }

  document.querySelectorAll(".kmod-edit").forEach(wake);
})();
