// Airflow keeps its theme where this page can read it too; without one it is the system's. Runs before anything shows.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    let chosen = null;
    try {
      chosen = localStorage.getItem("theme");
    } catch {
      // No storage.
    }
    const isDark = chosen === "dark" || (chosen !== "light" && system.matches);
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
  };
  follow();
  addEventListener("storage", follow);
  system.addEventListener("change", follow);
})();
