// A BERT with a masked-LM head that runs and trains in a page: what transformers' BertForMaskedLM computes, in float32.
//
// Statements lie end to end, without padding. N is the number of their tokens, R of the rows that a block gives, K of
// the masked slots, H the width of the hidden states. Every array has the rows of a matrix one after the other.
// Weights are kept as (in, out): a layer is x W + b.
(globalThis.kmodEdit ??= {}).bert = ({ Heap }) => {
  const up = (n, to) => Math.ceil(n / to) * to;
  const EPSILON = 1e-12; // of the layer norms
  const LINEAR = {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    context: "attention.output.dense",
    inner: "intermediate.dense",
    outer: "output.dense",
  };
  const NORM = { middle: "attention.output.LayerNorm", last: "output.LayerNorm" };

  /** The error function, to 1.5e-7 (Abramowitz & Stegun 1964, 7.1.26). */
  function erf(x) {
    const z = Math.abs(x);
    const t = 1 / (1 + 0.3275911 * z);
    const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return Math.sign(x) * (1 - tail * Math.exp(-z * z));
  }

  const normal = (x) => 0.5 * (1 + erf(x * Math.SQRT1_2)); // the share of a normal distribution below x
  const gelu = (x) => x * normal(x);
  const geluSlope = (x) => normal(x) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);

  function transpose(x, rows, columns, y) {
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
    return y;
  }

  function addRow(x, rows, bias) {
    for (let r = 0, i = 0; r < rows; r++) for (let c = 0; c < bias.length; c++) x[i++] += bias[c];
  }

  function sumRows(x, rows, out) {
    for (let r = 0, i = 0; r < rows; r++) for (let c = 0; c < out.length; c++) out[c] += x[i++];
  }

  function gather(x, rows, width, out) {
    rows.forEach((row, r) => out.set(x.subarray(row * width, (row + 1) * width), r * width));
    return out;
  }

  function scatterAdd(x, rows, width, out) {
    for (let r = 0; r < rows.length; r++)
      for (let c = 0; c < width; c++) out[rows[r] * width + c] += x[r * width + c];
  }

  /** A model: `tensors` by their names in BertForMaskedLM, and its `config`. */
  class Bert {
    constructor({ config, tensors }, megabytes = 96) {
      this.heap = new Heap(megabytes);
      this.H = config.hidden_size;
      this.F = config.intermediate_size;
      this.heads = config.num_attention_heads;
      this.vocabulary = config.vocab_size;
      this.V = up(config.vocab_size, 8); // the kernel makes eight columns at a time
      const get = (name) => tensors[name];
      this.words = this.keep(get("bert.embeddings.word_embeddings.weight"), this.V * this.H); // (V, H)
      this.places = get("bert.embeddings.position_embeddings.weight");
      this.type = get("bert.embeddings.token_type_embeddings.weight").subarray(0, this.H);
      this.first = this.norm(get, "bert.embeddings.LayerNorm");
      this.blocks = Array.from({ length: config.num_hidden_layers }, (_, n) => this.block(get, n));
      const head = "cls.predictions.";
      this.transform = this.linear(get, `${head}transform.dense`);
      this.headNorm = this.norm(get, `${head}transform.LayerNorm`);
      this.decoder = transpose(this.words, this.V, this.H, this.heap.floats(this.H * this.V)); // tied to the words
      this.bias = this.keep(get(`${head}bias`), this.V);
    }

    keep(values, size = values.length) {
      const array = this.heap.floats(size);
      array.set(values);
      return array;
    }

    linear(get, name) {
      const bias = get(`${name}.bias`);
      const out = bias.length;
      const inside = get(`${name}.weight`).length / out;
      const weight = transpose(get(`${name}.weight`), out, inside, this.heap.floats(inside * out));
      return { name, inside, out, weight, bias: this.keep(bias) };
    }

    norm(get, name) {
      return { name, weight: this.keep(get(`${name}.weight`)), bias: this.keep(get(`${name}.bias`)) };
    }

    block(get, n) {
      const block = {};
      for (const [key, name] of Object.entries(LINEAR)) block[key] = this.linear(get, `bert.encoder.layer.${n}.${name}`);
      for (const [key, name] of Object.entries(NORM)) block[key] = this.norm(get, `bert.encoder.layer.${n}.${name}`);
      return block;
    }

    /** The arrays of block n by the names of its parameters; weights as (in, out). */
    parameters(n) {
      const layers = Object.values(this.blocks[n]);
      return Object.fromEntries(
        layers.flatMap((l) => [[`${l.name}.weight`, l.weight], [`${l.name}.bias`, l.bias]]),
      );
    }

    /** A parameter's values in the layout of PyTorch: weights as (out, in). */
    written(name) {
      const layer = this.blocks.flatMap((b) => Object.values(b)).find((l) => name.startsWith(`${l.name}.`));
      if (name.endsWith(".bias") || !layer.inside) return layer[name.endsWith(".bias") ? "bias" : "weight"].slice();
      return transpose(layer.weight, layer.inside, layer.out, new Float32Array(layer.weight.length));
    }

    // Every function below takes its arrays from the heap. Whoever calls from outside gives them back.

    apply(layer, x, rows) {
      const y = this.heap.floats(up(rows, 4) * layer.out);
      this.heap.product(x, layer.weight, y, up(rows, 4), layer.out, layer.inside);
      addRow(y, rows, layer.bias);
      return y;
    }

    /** Adds x's share to a layer's gradients, and gives the slope towards x (rows, in), for dy (rows, out). */
    applyBack(layer, x, dy, rows, gradients, wanted = true) {
      if (gradients) {
        const weight = gradients[`${layer.name}.weight`];
        this.heap.product(x, dy, weight, layer.inside, layer.out, rows, { transposed: true });
        sumRows(dy, rows, gradients[`${layer.name}.bias`]);
      }
      if (!wanted) return null;
      const back = transpose(layer.weight, layer.inside, layer.out, this.heap.floats(layer.weight.length));
      const dx = this.heap.floats(up(rows, 4) * layer.inside);
      this.heap.product(dy, back, dx, up(rows, 4), layer.inside, layer.out);
      return dx;
    }

    normalise(norm, x, rows) {
      const { H } = this;
      const y = this.heap.floats(up(rows, 4) * H);
      const unit = this.heap.floats(rows * H); // x with mean 0 and variance 1
      const scale = this.heap.floats(rows);
      for (let r = 0, o = 0; r < rows; r++, o += H) {
        let mean = 0;
        let variance = 0;
        for (let h = 0; h < H; h++) mean += x[o + h];
        mean /= H;
        for (let h = 0; h < H; h++) variance += (x[o + h] - mean) ** 2;
        scale[r] = 1 / Math.sqrt(variance / H + EPSILON);
        for (let h = 0; h < H; h++) {
          unit[o + h] = (x[o + h] - mean) * scale[r];
          y[o + h] = unit[o + h] * norm.weight[h] + norm.bias[h];
        }
      }
      return { y, unit, scale };
    }

    normaliseBack(norm, { unit, scale }, dy, rows, gradients) {
      const { H } = this;
      const dx = this.heap.floats(up(rows, 4) * H);
      const weight = gradients?.[`${norm.name}.weight`];
      if (gradients) sumRows(dy, rows, gradients[`${norm.name}.bias`]);
      for (let r = 0, o = 0; r < rows; r++, o += H) {
        let mean = 0;
        let along = 0;
        for (let h = 0; h < H; h++) {
          const slope = dy[o + h] * norm.weight[h];
          mean += slope;
          along += slope * unit[o + h];
          if (weight) weight[h] += dy[o + h] * unit[o + h];
        }
        for (let h = 0; h < H; h++) {
          dx[o + h] = scale[r] * (dy[o + h] * norm.weight[h] - mean / H - (unit[o + h] * along) / H);
        }
      }
      return dx;
    }

    /** softmax(q kᵀ / √d) v inside each statement, for each head; q has a row for each of `rows`, k and v for all. */
    attend(q, k, v, { statement, starts }, rows) {
      const { H, heads } = this;
      const d = H / heads;
      const context = this.heap.floats(up(rows.length, 4) * H);
      const weights = []; // of each row and head, one after the other
      for (let r = 0; r < rows.length; r++) {
        const [start, end] = [starts[statement[rows[r]]], starts[statement[rows[r]] + 1]];
        for (let head = 0; head < heads; head++) {
          const o = head * d;
          const p = new Float32Array(end - start);
          let highest = -Infinity;
          for (let t = start; t < end; t++) {
            let dot = 0;
            for (let i = 0; i < d; i++) dot += q[r * H + o + i] * k[t * H + o + i];
            p[t - start] = dot / Math.sqrt(d);
            highest = Math.max(highest, p[t - start]);
          }
          let total = 0;
          for (let t = 0; t < p.length; t++) total += p[t] = Math.exp(p[t] - highest);
          for (let t = 0; t < p.length; t++) {
            p[t] /= total;
            for (let i = 0; i < d; i++) context[r * H + o + i] += p[t] * v[(start + t) * H + o + i];
          }
          weights.push(p);
        }
      }
      return { context, weights };
    }

    attendBack(q, k, v, { statement, starts }, rows, weights, dContext) {
      const { H, heads } = this;
      const d = H / heads;
      const tokens = starts[starts.length - 1];
      const [dq, dk, dv] = [rows.length, tokens, tokens].map((n) => this.heap.floats(up(n, 4) * H));
      for (let r = 0; r < rows.length; r++) {
        const start = starts[statement[rows[r]]];
        for (let head = 0; head < heads; head++) {
          const o = head * d;
          const p = weights[r * heads + head];
          const dp = new Float32Array(p.length);
          let mean = 0;
          for (let t = 0; t < p.length; t++) {
            for (let i = 0; i < d; i++) {
              dp[t] += dContext[r * H + o + i] * v[(start + t) * H + o + i];
              dv[(start + t) * H + o + i] += p[t] * dContext[r * H + o + i];
            }
            mean += p[t] * dp[t];
          }
          for (let t = 0; t < p.length; t++) {
            const slope = (p[t] * (dp[t] - mean)) / Math.sqrt(d);
            for (let i = 0; i < d; i++) {
              dq[r * H + o + i] += slope * k[(start + t) * H + o + i];
              dk[(start + t) * H + o + i] += slope * q[r * H + o + i];
            }
          }
        }
      }
      return { dq, dk, dv };
    }

    /** Block `n` on x (N, H): its output (R, H) at the tokens `rows`, and what its backward pass needs. */
    forwardBlock(n, x, batch, rows) {
      const { H, F } = this;
      const b = this.blocks[n];
      const R = rows.length;
      const tokens = batch.ids.length;
      const own = R === tokens ? x : gather(x, rows, H, this.heap.floats(up(R, 4) * H));
      const q = this.apply(b.query, own, R);
      const k = this.apply(b.key, x, tokens);
      const v = this.apply(b.value, x, tokens);
      const { context, weights } = this.attend(q, k, v, batch, rows);
      const middle = this.apply(b.context, context, R);
      for (let i = 0; i < R * H; i++) middle[i] += own[i];
      const h = this.normalise(b.middle, middle, R);
      const u = this.apply(b.inner, h.y, R);
      const g = this.heap.floats(up(R, 4) * F);
      for (let i = 0; i < R * F; i++) g[i] = gelu(u[i]);
      const last = this.apply(b.outer, g, R);
      for (let i = 0; i < R * H; i++) last[i] += h.y[i];
      const out = this.normalise(b.last, last, R);
      return { n, x, batch, rows, own, q, k, v, context, weights, h, u, g, out, y: out.y };
    }

    /** The slope towards the block's x (N, H), null unless `wanted`; `gradients` by name are added to. */
    backBlock(pass, dy, gradients, wanted) {
      const { H, F } = this;
      const { n, x, batch, rows, own, q, k, v, context, weights, h, u, g, out } = pass;
      const b = this.blocks[n];
      const R = rows.length;
      const tokens = batch.ids.length;
      const dLast = this.normaliseBack(b.last, out, dy, R, gradients);
      const du = this.applyBack(b.outer, g, dLast, R, gradients);
      for (let i = 0; i < R * F; i++) du[i] *= geluSlope(u[i]);
      const dh = this.applyBack(b.inner, h.y, du, R, gradients);
      for (let i = 0; i < R * H; i++) dh[i] += dLast[i];
      const dMiddle = this.normaliseBack(b.middle, h, dh, R, gradients);
      const dContext = this.applyBack(b.context, context, dMiddle, R, gradients);
      const { dq, dk, dv } = this.attendBack(q, k, v, batch, rows, weights, dContext);
      const dOwn = this.applyBack(b.query, own, dq, R, gradients, wanted);
      const dx = this.applyBack(b.key, x, dk, tokens, gradients, wanted);
      const byValue = this.applyBack(b.value, x, dv, tokens, gradients, wanted);
      if (!wanted) return null;
      for (let i = 0; i < tokens * H; i++) dx[i] += byValue[i];
      for (let i = 0; i < R * H; i++) dOwn[i] += dMiddle[i];
      scatterAdd(dOwn, rows, H, dx);
      return dx;
    }

    embed({ ids, starts, statement }) {
      const { H } = this;
      const x = this.heap.floats(up(ids.length, 4) * H);
      for (let t = 0; t < ids.length; t++) {
        const place = t - starts[statement[t]];
        for (let h = 0; h < H; h++) {
          x[t * H + h] = this.words[ids[t] * H + h] + this.places[place * H + h] + this.type[h];
        }
      }
      return this.normalise(this.first, x, ids.length).y;
    }

    /** The hidden states (N, H) that enter block `lowest`, to be kept: they stay the same while higher blocks train. */
    entering(batch, lowest) {
      const mark = this.heap.mark();
      const every = batch.ids.map((_, t) => t);
      let x = this.embed(batch);
      for (let n = 0; n < lowest; n++) x = this.forwardBlock(n, x, batch, every).y;
      const kept = x.slice(0, batch.ids.length * this.H);
      this.heap.release(mark);
      return kept;
    }

    /** The passes through the blocks from `lowest` on, of states that enter it; the last gives the slots' rows alone. */
    through(batch, lowest, kept) {
      const every = batch.ids.map((_, t) => t);
      const passes = [];
      let x = this.heap.floats(up(batch.ids.length, 4) * this.H);
      x.set(kept);
      for (let n = lowest; n < this.blocks.length; n++) {
        const rows = n === this.blocks.length - 1 ? batch.slots : every;
        passes.push(this.forwardBlock(n, x, batch, rows));
        x = passes[passes.length - 1].y;
      }
      return passes;
    }

    /** Logits (K, V) of the last block's rows (K, H), and what the backward pass needs. */
    forwardHead(x, K) {
      const u = this.apply(this.transform, x, K);
      const g = this.heap.floats(up(K, 4) * this.H);
      for (let i = 0; i < K * this.H; i++) g[i] = gelu(u[i]);
      const t = this.normalise(this.headNorm, g, K);
      const logits = this.heap.floats(up(K, 4) * this.V);
      this.heap.product(t.y, this.decoder, logits, up(K, 4), this.V, this.H);
      addRow(logits, K, this.bias);
      return { x, u, t, logits };
    }

    backHead({ x, u, t }, dLogits, K) {
      const dt = this.heap.floats(up(K, 4) * this.H);
      this.heap.product(dLogits, this.words, dt, up(K, 4), this.H, this.V);
      const du = this.normaliseBack(this.headNorm, t, dt, K, null);
      for (let i = 0; i < K * this.H; i++) du[i] *= geluSlope(u[i]);
      return this.applyBack(this.transform, x, du, K, null);
    }

    /** Logits of the slots of `batch`, K arrays of the vocabulary's length, copied from the heap. */
    logits(batch, lowest = 0, kept = this.entering(batch, lowest)) {
      const mark = this.heap.mark();
      const K = batch.slots.length;
      const { logits } = this.forwardHead(this.through(batch, lowest, kept).pop().y, K);
      const rows = Array.from({ length: K }, (_, r) => logits.slice(r * this.V, r * this.V + this.vocabulary));
      this.heap.release(mark);
      return rows;
    }

    /** The mean cross-entropy of the slots, their argmax, and the gradients of blocks from `lowest` on, by name. */
    gradients(batch, blocks, lowest, kept) {
      const mark = this.heap.mark();
      const K = batch.slots.length;
      const passes = this.through(batch, lowest, kept);
      const head = this.forwardHead(passes[passes.length - 1].y, K);
      const best = [];
      let loss = 0;
      for (let r = 0; r < K; r++) {
        const row = head.logits.subarray(r * this.V, r * this.V + this.vocabulary);
        best.push(argmax(row));
        const highest = row[best[r]];
        let total = 0;
        for (let c = 0; c < row.length; c++) total += Math.exp(row[c] - highest);
        loss += (Math.log(total) + highest - row[batch.targets[r]]) / K;
        for (let c = 0; c < row.length; c++) row[c] = Math.exp(row[c] - highest) / total / K;
        row[batch.targets[r]] -= 1 / K; // the logits have become their slopes
        head.logits.fill(0, r * this.V + this.vocabulary, (r + 1) * this.V);
      }
      const found = {};
      let dy = this.backHead(head, head.logits, K);
      for (const pass of passes.reverse()) {
        const wanted = pass.n > lowest;
        const trained = blocks.includes(pass.n);
        const gradients = trained
          ? Object.fromEntries(Object.entries(this.parameters(pass.n)).map(([k, p]) => [k, this.heap.floats(p.length)]))
          : null;
        dy = this.backBlock(pass, dy, gradients, wanted);
        for (const name in gradients) found[name] = gradients[name].slice();
      }
      this.heap.release(mark);
      return { loss, best, gradients: found };
    }
  }

  function argmax(row) {
    let best = 0;
    for (let c = 1; c < row.length; c++) if (row[c] > row[best]) best = c;
    return best;
  }

  /** Statements, each {ids, targets}, end to end. `mask` is the id of a slot's token. */
  function collate(statements, mask) {
    const ids = Int32Array.from(statements.flatMap((s) => Array.from(s.ids)));
    const starts = Int32Array.from([0, ...statements.map((s) => s.ids.length)]);
    for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1];
    const statement = Int32Array.from(statements.flatMap((s, i) => Array(s.ids.length).fill(i)));
    const slots = Int32Array.from([...ids.keys()].filter((t) => ids[t] === mask));
    const targets = Int32Array.from(statements.flatMap((s) => Array.from(s.targets)));
    if (slots.length !== targets.length) throw new Error("a statement has other masks than its object has word pieces");
    return { ids, starts, statement, slots, targets };
  }

  /** Which statements have every slot right, for the answers `best` (K,) of their slots. */
  function allSlotsRight({ statement, slots, targets, starts }, best) {
    const right = Array(starts.length - 1).fill(true);
    slots.forEach((t, s) => (right[statement[t]] &&= best[s] === targets[s]));
    return right;
  }

  /** Constrained fine-tuning (Zhu et al. 2020, equation 2) of `blocks` on all statements of `batch` at once: Adam, then
   * back into the ball |θ − θ₀| ≤ δ, element by element. `origin`: θ₀ by name where it is not the model as it is. */
  class Finetuning {
    constructor(model, batch, { blocks, delta = Infinity, lr = 1e-3, origin = {} }) {
      Object.assign(this, { model, batch, blocks, delta, lr, steps: 0 });
      this.lowest = Math.min(...blocks);
      this.kept = model.entering(batch, this.lowest);
      this.parameters = Object.assign({}, ...blocks.map((n) => model.parameters(n)));
      this.state = Object.entries(this.parameters).map(([name, theta]) => {
        const [mean, square] = [new Float32Array(theta.length), new Float32Array(theta.length)];
        return { name, theta, mean, square, before: theta.slice(), origin: origin[name] ?? theta.slice() };
      });
    }

    /** One step; gives the loss and the share of statements that were right before it. */
    step([beta1, beta2] = [0.9, 0.999], epsilon = 1e-8) {
      const { loss, best, gradients } = this.model.gradients(this.batch, this.blocks, this.lowest, this.kept);
      if (!Number.isFinite(loss)) throw new Error(`the loss became ${loss} at step ${this.steps}: lower the learning rate`);
      this.steps += 1;
      const rate = this.lr / (1 - beta1 ** this.steps);
      const correction = Math.sqrt(1 - beta2 ** this.steps);
      for (const { name, theta, mean, square, origin } of this.state) {
        const slope = gradients[name];
        for (let i = 0; i < theta.length; i++) {
          mean[i] = beta1 * mean[i] + (1 - beta1) * slope[i];
          square[i] = beta2 * square[i] + (1 - beta2) * slope[i] ** 2;
          theta[i] -= (rate * mean[i]) / (Math.sqrt(square[i]) / correction + epsilon);
          theta[i] = Math.min(Math.max(theta[i], origin[i] - this.delta), origin[i] + this.delta);
        }
      }
      const right = allSlotsRight(this.batch, best);
      return { loss, recall: right.filter(Boolean).length / right.length };
    }

    /** The weights as they were, to the bit. */
    undo() {
      for (const { theta, before } of this.state) theta.set(before);
    }
  }

  return { Bert, Finetuning, collate, argmax, allSlotsRight };
};
