// The model and the facts as book/_ext/page_model.py writes them: weights in float16, statements as phrasings.
(globalThis.kmodEdit ??= {}).facts = () => {
  /** Numbers in float16, little-endian, in base64, as float32. */
  function floats(base64) {
    const text = atob(base64);
    const found = new Float32Array(text.length / 2);
    for (let i = 0; i < found.length; i++) {
      const bits = text.charCodeAt(2 * i) | (text.charCodeAt(2 * i + 1) << 8);
      const exponent = (bits >> 10) & 31;
      const fraction = bits & 1023;
      const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : (fraction / 1024) * 2 ** -14;
      found[i] = bits >> 15 ? -size : size;
    }
    return found;
  }

  /** The weights by name, as views of one array. */
  function weights({ half, tensors }) {
    const all = floats(half);
    const cut = ([shape, start]) => all.subarray(start, start + shape.reduce((a, b) => a * b, 1));
    return Object.fromEntries(Object.entries(tensors).map(([name, where]) => [name, cut(where)]));
  }

  /** The masked statement of a phrasing about a subject; its first letter is a capital, but "iPhone" stays. */
  function fill(phrasing, subject) {
    const text = phrasing.replaceAll("[Y]", "[MASK]").replaceAll("[X]", subject);
    const first = text.split(" ", 1)[0];
    return first === first.toLowerCase() ? text[0].toUpperCase() + text.slice(1) : text;
  }

  /** The statements that ask for a fact, [subject, relation, object]: its relation's "evidences" or "tests". */
  function statements({ relations }, [subject, relation], kind) {
    return relations[relation][kind].map((phrasing) => fill(phrasing, subject));
  }

  return { floats, weights, fill, statements };
};
