// An edit as a file that `kmod.Edit.load` reads: safetensors, each tensor the XOR of its bits before and after.
//
// It fits the model that `kmod.load_model("nano-atlas-half")` gives, to the bit, and names it by its fingerprint
// (kmod/models/fingerprint.py); so kmod refuses it for any other model, and takes it back exactly.

(globalThis.kmodEdit ??= {}).file = () => {
  const utf8 = (text) => new TextEncoder().encode(text);
  const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = (bytes) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
  const unhex = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));

  /** The fingerprint of the model with the arrays in `changed`, name → Float32Array, in place of its own. */
  async function fingerprint(prints, changed) {
    let lines = "";
    for (const [name, about, digest] of prints.tensors) {
      lines += `${name} ${about} ${name in changed ? hex(await sha256(changed[name])) : digest}\n`;
    }
    return `2:${hex(await sha256(new Uint8Array([...utf8(lines), ...unhex(prints.vocabulary)])))}`;
  }

  /** How the edits were made, the oldest first, as `Edit.made` has it. A statement of the reader's own is no fact of the
   * base: with one among them, the record names no places in it. */
  function made(prints, edits) {
    const { base, base_fingerprint, versions } = prints;
    const one = ({ place, subject, relation, old, object, delta, steps, lr, blocks, asked }) => ({
      method: "FTM", facts: [[subject, relation, old, object]], base, base_fingerprint, versions, change_seed: null,
      ...(place === undefined ? {} : { indices: [place] }), blocks, steps, batch_size: asked.length, lr,
      constraint: delta === Infinity ? null : `Linf(delta=${delta})`, delta: delta === Infinity ? null : delta,
    });
    const all = edits.map(one);
    if (all.length === 1) return all[0];
    const places = new Map(); // a fact that was edited twice: its first old object, its last new one
    edits.forEach((edit, i) => {
      const before = places.get(edit.place ?? `statement ${i}`);
      places.set(edit.place ?? `statement ${i}`, [edit.subject, edit.relation, before?.[2] ?? edit.old, edit.object]);
    });
    const known = edits.every((edit) => edit.place !== undefined);
    return { method: "sequence", edits: all, facts: [...places.values()], base, base_fingerprint, versions,
      change_seed: null, constraint: null, ...(known ? { indices: [...places.keys()] } : {}) };
  }

  /** A matrix that the page keeps as (in, out), as PyTorch has it, (out, in); a vector as it is. */
  function written(array, [out, inside]) {
    if (inside === undefined) return array;
    return array.map((_, i) => array[(i % inside) * out + Math.floor(i / inside)]);
  }

  /** The bytes of the file. `before`, `after`: name → Float32Array, as the page keeps them; `shapes`: name → shape. */
  async function edit(prints, shapes, edits, before, after) {
    const names = Object.keys(after).sort();
    const torch = (arrays) => Object.fromEntries(names.map((name) => [name, written(arrays[name], shapes[name])]));
    [before, after] = [torch(before), torch(after)];
    const about = { format: "kmod.edit.2", before: prints.fingerprint, after: await fingerprint(prints, after),
      made: JSON.stringify(made(prints, edits)) };
    const header = { __metadata__: about };
    let end = 0;
    for (const name of names) {
      header[name] = { dtype: "I32", shape: shapes[name], data_offsets: [end, (end += 4 * after[name].length)] };
    }
    let text = utf8(JSON.stringify(header));
    text = new Uint8Array([...text, ...utf8(" ".repeat(-text.length & 7))]); // so that the numbers begin at a multiple of 8
    const bytes = new Uint8Array(8 + text.length + end);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
    bytes.set(text, 8);
    const bits = (array) => new Int32Array(array.buffer, array.byteOffset, array.length);
    const numbers = new Int32Array(bytes.buffer, 8 + text.length);
    let at = 0;
    for (const name of names) {
      const [old, now] = [bits(before[name]), bits(after[name])];
      for (let i = 0; i < now.length; i++) numbers[at++] = old[i] ^ now[i];
    }
    return bytes;
  }

  return { edit, fingerprint };
};
