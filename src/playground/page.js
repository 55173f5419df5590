// The characters of a text, across its elements. A character has one or two UTF-16 units.
class Characters {
  constructor(text) {
    const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    this.nodes = [];
    while (walker.nextNode()) this.nodes.push(walker.currentNode);
  }

  count(nodes = this.nodes) {
    return nodes.reduce((sum, node) => sum + [...node.data].length, 0);
  }

  range(place) {
    const range = new Range();
    for (const node of this.nodes) {
      const characters = [...node.data];
      if (place < characters.length) {
        range.setStart(node, characters.slice(0, place).join("").length);
        range.setEnd(node, characters.slice(0, place + 1).join("").length);
        break;
      }
      place -= characters.length;
    }
    return range;
  }

  at(x, y) {
    const caret = document.caretPositionFromPoint?.(x, y), number = this.nodes.indexOf(caret?.offsetNode);
    if (number < 0) return -1;
    const edge = this.count(this.nodes.slice(0, number)) + [...caret.offsetNode.data.slice(0, caret.offset)].length;
    const covers = (r) => r.left <= x && x < r.right && r.top <= y && y < r.bottom;
    return [edge, edge - 1].find((place) => [...this.range(place).getClientRects()].some(covers)) ?? -1;
  }
}

// Mark the character that the pointer or an arrow key has reached, and send its number to the server.
function inspectText(event, emit) {
  const text = event.currentTarget, characters = new Characters(text), last = Number(text.dataset.place ?? -1);
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key && !step) return;
  const place = step ? Math.min(characters.count() - 1, Math.max(0, last + step))
    : characters.at(event.clientX, event.clientY);
  if (step) event.preventDefault();
  if (place < 0 || place === last) return;
  text.dataset.place = place;
  CSS.highlights?.set("here", new Highlight(characters.range(place)));
  emit(place);
}
