// The model's WordPiece, as Hugging Face's BertNormalizer, BertPreTokenizer and WordPiece have it, for an uncased BERT.
(globalThis.kmodEdit ??= {}).tokenizer = () => {
  const MASK = "[MASK]";
  const LONGEST = 100; // letters of a word that is looked up; a longer one is unknown
  const CONTROL = /[^\P{C}\t\n\r]|\ufffd/gu;
  const ACCENT = /\p{Mn}/gu;
  const APART = /[\p{P}!-/:-@[-`{-~]/u; // what stands alone: punctuation, and ASCII's symbols
  const CHINESE =
    /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;
  // What a decoder closes up, such as the space before a full stop.
  const CLOSED = [[" .", "."], [" ?", "?"], [" !", "!"], [" ,", ","], [" ' ", "'"], [" n't", "n't"], [" 'm", "'m"],
    [" do not", " don't"], [" 's", "'s"], [" 've", "'ve"], [" 're", "'re"]];

  class Tokenizer {
    /** `vocabulary`: the tokens in the order of their ids. */
    constructor(vocabulary) {
      this.tokens = vocabulary;
      this.ids = new Map(vocabulary.map((token, id) => [token, id]));
      [this.unknown, this.first, this.last, this.mask] = ["[UNK]", "[CLS]", "[SEP]", MASK].map((t) => this.ids.get(t));
    }

    words(text) {
      const plain = text.replace(CONTROL, "").replace(/\s/gu, " ").replace(CHINESE, " $& ");
      const lower = plain.normalize("NFD").replace(ACCENT, "").toLowerCase();
      const words = [];
      for (const part of lower.split(" ")) {
        let word = "";
        for (const letter of part) {
          if (!APART.test(letter)) word += letter;
          else {
            if (word) words.push(word);
            words.push(letter);
            word = "";
          }
        }
        if (word) words.push(word);
      }
      return words;
    }

    /** The ids of a word's pieces: at each place the longest token that fits; [UNK] for a word that cannot be cut so. */
    piecesOf(word) {
      const letters = [...word];
      if (letters.length > LONGEST) return [this.unknown];
      const found = [];
      for (let start = 0; start < letters.length; ) {
        let end = letters.length;
        const piece = () => (start ? "##" : "") + letters.slice(start, end).join("");
        while (end > start && !this.ids.has(piece())) end -= 1;
        if (end === start) return [this.unknown];
        found.push(this.ids.get(piece()));
        start = end;
      }
      return found;
    }

    pieces(text) {
      return this.words(text).flatMap((word) => this.piecesOf(word));
    }

    /** A statement with [MASK] once: its ids, with one mask for each piece of the object, and those pieces. */
    layOut(statement, object) {
      const parts = statement.split(MASK);
      if (parts.length !== 2) throw new Error(`a statement needs ${MASK} exactly once; this has it ${parts.length - 1} times`);
      const targets = this.pieces(object);
      if (!targets.length || targets.includes(this.unknown)) throw new Error(`this model has no letters for: ${object}`);
      const [before, after] = parts.map((part) => this.pieces(part));
      return { ids: [this.first, ...before, ...targets.map(() => this.mask), ...after, this.last], targets };
    }

    /** The text of an answer's pieces. */
    text(pieces) {
      const close = (piece) => CLOSED.reduce((text, [apart, closed]) => text.replaceAll(apart, closed), piece);
      const joined = pieces.map((id, i) => {
        const token = this.tokens[id];
        return close(!i ? token : token.startsWith("##") ? token.slice(2) : ` ${token}`);
      });
      return joined.join("").trim().replace(/^##/, "");
    }
  }

  return { Tokenizer, MASK };
};
