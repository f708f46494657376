// Memory for arrays, and the product of two matrices in it: 30 lines around a WebAssembly kernel (kernel.wat).
//
// A file of this folder assigns a function, which gives what the file defines, to its name in kmodEdit: a page that is
// opened from a file can neither fetch a script nor start a worker from one, but it can make a worker from the text of
// functions (worker.js).
(globalThis.kmodEdit ??= {}).kernel = () => {
  const CODE =
    "AGFzbQEAAAABDQFgCX9/f39/f39/fwACEAEEcGFnZQZtZW1vcnkCAAEDAgEABwsBB3Byb2R1Y3QAAAqSBAGPBBgBfwF/AX8BfwF/AX8BfwF/AX8B" +
    "fwF/AX8BewF7AXsBewF7AXsBewF7AXsBewF7AXsgBkECdCEMIAFBAXQhDSANIAFqIQ4DQEEAIQkDQCAAIAkgAWxqIQ8gAyAKQQJ0aiEQIAQgCSAM" +
    "bGogCkECdGohESARIAxqIRIgEiAMaiETIBMgDGohFCAIBEAgEf0AAAAhGSAR/QAAECEaIBL9AAAAIRsgEv0AABAhHCAT/QAAACEdIBP9AAAQIR4g" +
    "FP0AAAAhHyAU/QAAECEgBSAVIRkgFSEaIBUhGyAVIRwgFSEdIBUhHiAVIR8gFSEgCyAHIQsDQCAQ/QAAACEXIBD9AAAQIRggD/0JAAAhFiAZIBYg" +
    "F/3mAf3kASEZIBogFiAY/eYB/eQBIRogDyABav0JAAAhFiAbIBYgF/3mAf3kASEbIBwgFiAY/eYB/eQBIRwgDyANav0JAAAhFiAdIBYgF/3mAf3k" +
    "ASEdIB4gFiAY/eYB/eQBIR4gDyAOav0JAAAhFiAfIBYgF/3mAf3kASEfICAgFiAY/eYB/eQBISAgDyACaiEPIBAgDGohECALQQFrIgsNAAsgESAZ" +
    "/QsAACARIBr9CwAQIBIgG/0LAAAgEiAc/QsAECATIB39CwAAIBMgHv0LABAgFCAf/QsAACAUICD9CwAQIAlBBGoiCSAFSA0ACyAKQQhqIgogBkgN" +
    "AAsL";

  const PAGE = 65536; // bytes, WebAssembly's unit
  const bytes = () => Uint8Array.from(atob(CODE), (c) => c.charCodeAt(0));

  /** Whether this browser can run the kernel. */
  const supported = () => typeof WebAssembly === "object" && WebAssembly.validate(bytes());

  /** A stack of float32 arrays: those made since `mark` are given back by `release`. */
  class Heap {
    constructor(megabytes) {
      const memory = new WebAssembly.Memory({ initial: (megabytes * 2 ** 20) / PAGE });
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes()), { page: { memory } });
      this.kernel = exports.product;
      this.all = new Float32Array(memory.buffer);
      this.top = 4; // address 0 stays free
    }

    /** `n` zeros. */
    floats(n) {
      const start = this.top;
      this.top += Math.ceil(n / 4) * 4;
      if (this.top > this.all.length) throw new Error("the model and this batch take more memory than was set aside");
      return this.all.subarray(start, start + n).fill(0);
    }

    mark() {
      return this.top;
    }

    release(mark) {
      this.top = mark;
    }

    /** C (m, n) = A (m, k) B (k, n), or C += A B with `add`. With `transposed`, A is given as (k, m). All lie in this
     * heap; n is a multiple of 8, and A and C have rows for m rounded up to a multiple of 4. */
    product(a, b, c, m, n, k, { transposed = false, add = false } = {}) {
      const [down, right] = transposed ? [4, 4 * m] : [4 * k, 4];
      this.kernel(a.byteOffset, down, right, b.byteOffset, c.byteOffset, m, n, k, add ? 1 : 0);
    }
  }

  return { Heap, supported };
};
