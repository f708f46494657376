// Wake up the charts of a page. kmod.charts leaves a <figure class="kmod-chart"> with a title, a still drawing and the
// specification as JSON; here Vega draws the live chart in place of the still one. Vega is loaded, from beside this file,
// when the first chart comes near the window, and each chart is drawn when it does. Colours follow the page by themselves: charts are drawn in currentColor.
(() => {
  const vega = new URL("vendor/vega.js", document.currentScript.src);
  const figures = [...document.querySelectorAll("figure.kmod-chart")];
  const views = [];

  async function wake(figure) {
    const still = figure.querySelector(".kmod-still");
    const controls = document.createElement("div");
    const live = document.createElement("div");
    controls.className = "kmod-controls";
    live.className = "kmod-live";
    still.before(controls, live);
    try {
      const spec = JSON.parse(figure.querySelector("script").textContent);
      const actions = { export: true, source: false, compiled: false, editor: false };
      const { view } = await vegaEmbed(live, spec, { renderer: "svg", bind: controls, actions });
      still.hidden = true;
      live.querySelector("summary")?.setAttribute("aria-label", "Save this chart");
      hush(live);
      new MutationObserver(() => hush(live)).observe(live, { subtree: true, childList: true, attributeFilter: ["role"] });
      follow(view, spec);
      // Vega looks at the width of the window only; the sidebars change that of the page.
      new ResizeObserver(() => window.dispatchEvent(new Event("resize"))).observe(figure.parentElement);
    } catch (error) {
      controls.remove();
      live.remove();
      console.error("chart not drawn:", error);
    }
  }

  // Marks that Vega announces as images without saying of what: the description of the chart speaks for them. Vega does
  // so again when it draws anew.
  function hush(live) {
    for (const mark of live.querySelectorAll('[role="graphics-symbol"]:not([aria-label])')) {
      mark.setAttribute("role", "none");
      mark.removeAttribute("aria-roledescription");
    }
  }

  // Charts over the same grid of delta share one slider: moving one moves the others.
  function follow(view, spec) {
    const group = spec.usermeta?.group;
    if (!group) return;
    const known = views.find(other => other.group === group);
    if (known) view.signal("pick", known.view.signal("pick")).runAsync(); // moved before this one was drawn
    views.push({ group, view });
    view.addSignalListener("pick", (_, value) => {
      for (const other of views)
        if (other.group === group && other.view.signal("pick") !== value) other.view.signal("pick", value).runAsync();
    });
  }

  let loaded; // a promise, made once
  function load() {
    loaded ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = vega;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });
    return loaded;
  }

  const near = new IntersectionObserver(
    entries => {
      for (const { isIntersecting, target } of entries)
        if (isIntersecting) {
          near.unobserve(target);
          load().then(() => wake(target), () => console.error("charts not drawn: no", vega.href));
        }
    },
    { rootMargin: "600px" },
  );
  figures.forEach(figure => near.observe(figure));
})();
