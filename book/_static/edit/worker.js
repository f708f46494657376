// What runs beside the page, so that the page never waits: workers that hold the model each, train it and ask it.
//
// A page that was opened from a file may not start a worker from a file. It may from a Blob, and the functions of this
// folder are text that can be put into one: none of them uses anything from outside.

/** The worker's side: calls come as {id, call, args}, and go back as {id, value}, {id, error} or {id, step}. */
(globalThis.kmodEdit ??= {}).service = (scope) => {
  const BATCH = 128; // statements that are asked at once
  const { Bert, Finetuning, collate, argmax, allSlotsRight } = kmodEdit.bert(kmodEdit.kernel());
  const { Tokenizer } = kmodEdit.tokenizer();
  const { weights, statements } = kmodEdit.facts();
  let model, tokenizer, batches, kept, keptAt;

  const calls = {
    /** Build the model, and lay out the tests of the facts from `from` to `to`; gives their number. */
    load({ data, from, to }) {
      tokenizer = new Tokenizer(data.vocabulary);
      model = new Bert({ config: data.config, tensors: weights(data) });
      const laid = data.facts.slice(from, to).flatMap((fact, i) =>
        statements(data, fact, "tests").map((text) => ({ owner: from + i, ...tokenizer.layOut(text, fact[2]) })));
      laid.sort((a, b) => a.ids.length - b.ids.length);
      batches = [];
      for (let i = 0; i < laid.length; i += BATCH) {
        const chosen = laid.slice(i, i + BATCH);
        batches.push({ owners: chosen.map((s) => s.owner), ...collate(chosen, tokenizer.mask) });
      }
      return laid.length;
    },

    /** Put these arrays, by name, into the model; nothing if there are none. */
    put({ arrays }) {
      for (let n = 0; n < model.blocks.length; n++) {
        const own = model.parameters(n);
        const changed = Object.keys(arrays).filter((name) => name in own);
        changed.forEach((name) => own[name].set(arrays[name]));
        if (changed.length && n < keptAt) kept = undefined;
      }
    },

    /** Ask all tests of this worker: [fact, right] for each. The states that enter block `lowest` are kept for the next
     * time: what an edit of that block and of those above leaves as it was. */
    ask({ lowest }, step) {
      if (!kept || keptAt !== lowest) [kept, keptAt] = [[], lowest];
      return batches.flatMap((batch, b) => {
        kept[b] ??= model.entering(batch, lowest);
        const right = allSlotsRight(batch, model.logits(batch, lowest, kept[b]).map(argmax));
        step((b + 1) / batches.length);
        return batch.owners.map((owner, i) => [owner, right[i]]);
      });
    },

    /** The most probable answer to each statement, [text, probability], with as many masks as `object` has pieces. */
    answers({ asked, object }) {
      return asked.map((statement) => {
        const batch = collate([tokenizer.layOut(statement, object)], tokenizer.mask);
        const best = model.logits(batch).map((row) => {
          const at = argmax(row);
          return [at, 1 / row.reduce((sum, x) => sum + Math.exp(x - row[at]), 0)];
        });
        return [tokenizer.text(best.map(([id]) => id)), best.reduce((p, [, share]) => p * share, 1)];
      });
    },

    /** Fine-tune on the statements `asked` with `object`; every step is told. Gives the arrays before and after. */
    finetune({ asked, object, steps, ...settings }, step) {
      const laid = asked.map((statement) => tokenizer.layOut(statement, object));
      const training = new Finetuning(model, collate(laid, tokenizer.mask), settings);
      try {
        for (let i = 0; i < steps; i++) step(training.step());
      } catch (error) {
        training.undo();
        throw error;
      }
      if (keptAt > training.lowest) kept = undefined;
      const after = Object.fromEntries(training.state.map(({ name, theta }) => [name, theta.slice()]));
      return { before: Object.fromEntries(training.state.map(({ name, before }) => [name, before])), after };
    },
  };

  scope.onmessage = ({ data: { id, call, args } }) => {
    try {
      scope.postMessage({ id, value: calls[call](args, (step) => scope.postMessage({ id, step })) });
    } catch (error) {
      scope.postMessage({ id, error: error.message });
    }
  };
};

/** The page's side: a model that is held by several workers, its edits, and what they broke. */
kmodEdit.session = () => {
  const PARTS = ["kernel", "bert", "tokenizer", "facts", "service"];

  class Helper {
    constructor() {
      const text = `const kmodEdit = {};\n${PARTS.map((part) => `kmodEdit.${part} = ${kmodEdit[part]};\n`).join("")}`;
      const url = URL.createObjectURL(new Blob([`${text}kmodEdit.service(self);`], { type: "text/javascript" }));
      this.worker = new Worker(url);
      URL.revokeObjectURL(url);
      this.waiting = new Map();
      this.worker.onmessage = ({ data: { id, value, error, step } }) => {
        const { resolve, reject, told } = this.waiting.get(id);
        if (step !== undefined) return told?.(step);
        this.waiting.delete(id);
        return error === undefined ? resolve(value) : reject(new Error(error));
      };
      this.worker.onerror = (event) => {
        this.waiting.forEach(({ reject }) => reject(new Error(event.message)));
        this.waiting.clear();
      };
    }

    call(call, args, told) {
      const id = (this.last = (this.last ?? 0) + 1);
      return new Promise((resolve, reject) => {
        this.waiting.set(id, { resolve, reject, told });
        this.worker.postMessage({ id, call, args });
      });
    }
  }

  class Session {
    /** `data`: as page_model.py writes it. Each worker asks its share of the facts. */
    constructor(data, workers = Math.max(1, Math.min(4, navigator.hardwareConcurrency ?? 2))) {
      this.data = data;
      this.depth = data.config.num_hidden_layers;
      this.helpers = Array.from({ length: workers }, () => new Helper());
      this.edits = []; // the oldest first
    }

    all(call, args, told) {
      const share = this.helpers.map(() => 0);
      const sum = () => share.reduce((a, b) => a + b, 0) / share.length;
      return Promise.all(this.helpers.map((helper, i) =>
        helper.call(call, typeof args === "function" ? args(i) : args, (step) => {
          share[i] = step;
          told?.(sum());
        })));
    }

    async start() {
      const cut = (i) => Math.round((i * this.data.facts.length) / this.helpers.length);
      await this.all("load", (i) => ({ data: this.data, from: cut(i), to: cut(i + 1) }));
    }

    /** For each fact, whether all its tests are right. `told` hears the share that is done. */
    async ask(lowest, told) {
      const right = this.data.facts.map(() => true);
      for (const part of await this.all("ask", { lowest }, told)) {
        part.forEach(([fact, ok]) => (right[fact] &&= ok));
      }
      return right;
    }

    answers(asked, object) {
      return this.helpers[0].call("answers", { asked, object });
    }

    /** Teach the statements `asked` the object, on top of the edits before. `told` hears {loss, recall} of each step.
     * `about`: what is to stand beside the settings in `edits`. */
    async edit(asked, object, { blocks, delta = Infinity, steps = 25, lr = 1e-3, about = {} }, told) {
      const settings = { asked, object, blocks, delta, steps, lr };
      const { before, after } = await this.helpers[0].call("finetune", settings, told);
      await Promise.all(this.helpers.slice(1).map((helper) => helper.call("put", { arrays: after })));
      this.edits.push({ ...about, ...settings, before, after });
    }

    /** All edits together as the bytes of a file for `kmod.Edit.load`. */
    file() {
      const before = Object.assign({}, ...this.edits.map((edit) => edit.before).reverse());
      const after = Object.assign({}, ...this.edits.map((edit) => edit.after));
      const shapes = Object.fromEntries(Object.entries(this.data.tensors).map(([name, [shape]]) => [name, shape]));
      return kmodEdit.file().edit(this.data.prints, shapes, this.edits, before, after);
    }

    /** Take the last edit back: the weights are those before it, to the bit. */
    async undo() {
      const edit = this.edits.pop();
      await this.all("put", { arrays: edit.before });
      return edit;
    }

    stop() {
      this.helpers.forEach(({ worker }) => worker.terminate());
    }
  }

  return { Session };
};
