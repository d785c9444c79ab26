// The search page. Whatever comes from a feed or a customer enters the page as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const SIDES = { champion: "Champion", candidate: "Candidate" };
const other = (side) => (side === "champion" ? "candidate" : "champion");
let facts = { candidate: null, pictures: false, examples: [], depth: 100, name: "" };
let running = null; // the request under way; a newer query ends it

function make(template, fill) {
  const element = $(template).content.firstElementChild.cloneNode(true);
  fill(element, (selector) => element.querySelector(selector));
  return element;
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

// What became of a product between the two lists, seen from its place in `side`.
function change(product, side) {
  const there = product.other_rank;
  if (there === null) {
    return side === "candidate"
      ? { kind: "new", mark: "new", said: `not among the champion's first ${facts.depth}` }
      : { kind: "down", mark: "gone", said: `not among the candidate's first ${facts.depth}` };
  }
  const moved = side === "candidate" ? there - product.rank : product.rank - there;
  if (moved === 0) return { kind: "same", mark: "=", said: "the same rank in both lists" };
  const way = side === "candidate" ? `from ${there}` : `to ${there}`;
  return moved > 0
    ? { kind: "up", mark: `▲ ${moved}, ${way}`, said: `up ${moved} with the candidate, ${way}` }
    : { kind: "down", mark: `▼ ${-moved}, ${way}`, said: `down ${-moved} with the candidate, ${way}` };
}

function showChange(link, product, side, shown) {
  const found = change(product, side);
  link.classList.add(found.kind);
  link.textContent = found.mark;
  link.title = found.said;
  link.setAttribute("aria-label", found.said);
  if (product.other_rank !== null && product.other_rank <= shown) {
    link.href = `#${other(side)}-${product.other_rank}`;
  }
}

function showPicture(box, product) {
  const image = box.querySelector("img");
  const none = box.querySelector(".none");
  const missing = () => {
    image.remove();
    none.hidden = false;
  };
  if (!facts.pictures) {
    missing();
    return;
  }
  image.loading = product.rank > 8 ? "lazy" : "eager";
  image.addEventListener("error", missing);
  image.src = `/picture?id=${encodeURIComponent(product.product_id)}`;
}

function showWeights(box, weights) {
  box.hidden = weights === null;
  if (weights === null) return;
  const joint = Math.max(0, 1 - weights.text - weights.image);
  for (const [part, share] of [["text", weights.text], ["image", weights.image], ["joint", joint]]) {
    box.querySelector(`.${part}`).style.width = `${100 * share}%`;
  }
  box.querySelector("p").textContent = `text ${percent(weights.text)} · image ${percent(weights.image)}`;
}

function productCard(product, side, { compared, shown }) {
  return make("product", (card, find) => {
    card.id = `${side}-${product.rank}`;
    card.dataset.product = product.product_id;
    find(".rank").textContent = product.rank;
    if (compared) showChange(find(".change"), product, side, shown);
    else find(".change").remove();
    find("h3").textContent = product.title || "(no title)";
    find("h3").classList.toggle("untitled", !product.title);
    find("h3").title = product.title;
    const score = document.createElement("b");
    score.textContent = product.score.toFixed(3);
    find(".score").replaceChildren("score ", score);
    find(".id").textContent = product.product_id;
    find(".id").title = product.product_id;
    showPicture(find(".picture"), product);
    showWeights(find(".weights"), product.weights);
    if (product.rank === 1) card.tabIndex = 0;
  });
}

function productList(list, side, compared) {
  return make("list", (section, find) => {
    find("h2").textContent = SIDES[side];
    section.setAttribute("aria-label", `${SIDES[side]}'s products`);
    if (list.release_id) {
      find(".release code").textContent = list.release_id;
      find(".release .time").textContent = `${list.milliseconds.toFixed(0)} ms`;
    }
    find(".failed").textContent = list.error;
    find(".failed").hidden = !list.error;
    const options = { compared, shown: list.products.length };
    find("ol").append(...list.products.map((product) => productCard(product, side, options)));
  });
}

function summary(answer) {
  const { champion, candidate } = answer;
  const count = `${champion.products.length} products for “${answer.query}”`;
  if (!candidate || !candidate.release_id || !champion.release_id) return count;
  if (candidate.release_id === champion.release_id) {
    return `${count}. The candidate is what is in production now.`;
  }
  const moved = candidate.products.filter((product) => product.other_rank !== product.rank).length;
  return `${count}; the candidate places ${moved} of ${candidate.products.length} differently`;
}

function show(answer) {
  const sides = Object.keys(SIDES).filter((side) => answer[side]);
  const compared = sides.length === 2 && sides.every((side) => answer[side].release_id);
  $("lists").classList.toggle("two", sides.length === 2);
  $("lists").replaceChildren(...sides.map((side) => productList(answer[side], side, compared)));
  const weighed = sides.some((side) => answer[side].products.some((product) => product.weights));
  $("legend").hidden = !weighed;
  const notes = sides.filter((side) => answer[side].note);
  $("notes").textContent = notes.map((side) => `${SIDES[side]}: ${answer[side].note}`).join(" ");
  $("notes").hidden = notes.length === 0;
  $("keys").hidden = false;
  $("jump").hidden = !compared;
  $("status").textContent = summary(answer);
}

function complain(message) {
  $("problem").textContent = message;
  $("problem").hidden = !message;
}

async function search(query) {
  if (running) running.abort();
  const mine = (running = new AbortController());
  const asked = new URLSearchParams({ q: query, compare: $("compare").checked ? "1" : "0" });
  $("results").setAttribute("aria-busy", "true");
  try {
    const response = await fetch(`/api/search?${asked}`, { signal: mine.signal });
    const answer = await response.json();
    complain(answer.error || "");
    if (response.ok) show(answer);
  } catch (error) {
    if (error.name !== "AbortError") {
      complain("The page's server does not answer. Is `mmr ui` still running?");
    }
  } finally {
    if (running === mine) $("results").setAttribute("aria-busy", "false");
  }
}

// The query and the comparison stand in the address, so that a search can be sent to a colleague.
function ask(query, { remember = true } = {}) {
  $("query").value = query;
  if (!query.trim()) return;
  if (remember) {
    const address = new URLSearchParams({ q: query });
    if (facts.candidate && !$("compare").checked) address.set("compare", "0");
    history.pushState(null, "", `?${address}`);
  }
  document.title = `${query} · product search`;
  search(query);
}

function readAddress() {
  const address = new URLSearchParams(location.search);
  $("compare").checked = facts.candidate !== null && address.get("compare") !== "0";
  ask(address.get("q") || "", { remember: false });
}

function focusProduct(side, rank) {
  const card = $(`${side}-${rank}`);
  if (!card) return false;
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest", behavior: "smooth" });
  return true;
}

function columnsOf(list) {
  return getComputedStyle(list).gridTemplateColumns.split(" ").length;
}

// Arrow keys walk through a list as it stands on the screen, and across to the other one.
function moveFrom(card, key) {
  const [side, number] = card.id.split("-");
  const rank = Number(number);
  const columns = columnsOf(card.parentElement);
  const last = card.parentElement.childElementCount;
  const steps = { ArrowDown: columns, ArrowUp: -columns, ArrowRight: 1, ArrowLeft: -1 };
  if (key === "Home") return focusProduct(side, 1);
  if (key === "End") return focusProduct(side, last);
  if (!(key in steps)) return false;
  const two = $("lists").classList.contains("two");
  if (two && key === "ArrowRight") return focusProduct("candidate", rank);
  if (two && key === "ArrowLeft") return focusProduct("champion", rank);
  return focusProduct(side, rank + steps[key]);
}

function markTwins(card) {
  for (const marked of document.querySelectorAll(".twin")) marked.classList.remove("twin");
  if (!card || !$("lists").classList.contains("two")) return;
  for (const twin of document.querySelectorAll(".product")) {
    const same = twin.dataset.product === card.dataset.product;
    twin.classList.toggle("twin", same && twin !== card);
  }
}

function onKey(event) {
  const typing = event.target.matches("input[type=search]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    $("query").focus();
    $("query").select();
    return;
  }
  const card = event.target.closest(".product");
  if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter") {
    const link = card.querySelector(".change[href]");
    if (link && event.target === card) follow(link, event);
  } else if (moveFrom(card, event.key)) {
    event.preventDefault();
  }
}

function follow(link, event) {
  event.preventDefault(); // the address keeps the query alone
  focusProduct(...link.hash.slice(1).split("-"));
}

async function start() {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    ask($("query").value);
  });
  $("compare").addEventListener("change", () => ask($("query").value));
  $("lists").addEventListener("click", (event) => {
    const link = event.target.closest(".change[href]");
    if (link) follow(link, event);
  });
  for (const kind of ["focusin", "pointerover"]) {
    $("lists").addEventListener(kind, (event) => markTwins(event.target.closest(".product")));
  }
  document.addEventListener("keydown", onKey);
  window.addEventListener("popstate", readAddress);
  try {
    facts = await (await fetch("/api/page")).json();
  } catch {
    complain("The page's server does not answer. Is `mmr ui` still running?");
  }
  $("shop").textContent = facts.name;
  $("comparison").hidden = facts.candidate === null;
  const chips = facts.examples.map((query) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = query;
    chip.addEventListener("click", () => ask(query));
    return chip;
  });
  $("examples").append(...chips);
  if (!new URLSearchParams(location.search).get("q")) $("query").focus();
  readAddress();
  document.body.dataset.ready = "true";
}

start();
