"""The page of `python -m src.play`: two runs, one prompt, two texts that grow side by side.

NiceGUI serves it with all of its assets. Threads compute the networks in short slices of time, so that the
server can answer between two slices, for example to stop a generation.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from nicegui import app, events, ui

from src.common.errors import UserError
from src.common.files import PROJECT
from src.config.schema import PlayConfig
from src.playground import generation
from src.playground.generation import ModelCache, NextCharacter, TextStream
from src.tracking import mlflow_links
from src.tracking.directory_store import DirectoryStore
from src.tracking.mlflow_server import is_listening, url_host
from src.tracking.run_record import RunRecord

POLL_SECONDS = 0.05  # seconds between two updates of what is shown
BLOCK = 2000  # characters in one element of the page: an update sends the whole last element
DISPLAY_RATES = {50: "50 a second", 200: "200 a second", 1000: "1,000 a second", 0: "unlimited"}
HINTS = {"temperature": "0: the most likely", "top_k": "empty: all", "top_p": "empty: all"}
STEPS = {"temperature": 0.1, "top_k": 1, "top_p": 0.05, "length": 100, "seed": 1}

STYLES = (PROJECT / "src" / "common" / "palette.css", Path(__file__).with_name("page.css"))
SCRIPT = Path(__file__).with_name("page.js")
VISIBLE = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}  # white space in the list of characters
CONTEXT = 20  # characters shown before the next one
INSPECT = "Point at a character, or press an arrow key in the text, to see what may follow it."


class Column:
    """One run and the text that it generates.

    Args:
        side: `left` or `right`.
        models: The models that both columns share.
        listed: Run id to record, the runs to choose from.
        chosen: Id of the run that is selected first.
        server: Address of MLflow's UI; "" without tracking.
    """

    def __init__(
        self, side: str, models: ModelCache, listed: dict[str, RunRecord], chosen: str, server: str
    ) -> None:
        self.side, self.models, self.listed, self.server = side, models, listed, server
        self.next: NextCharacter | None = None  # of the text that is shown
        self.place = -1  # number of the character that was inspected last
        self.inspecting = asyncio.Lock()
        self.generation_id = 0  # number of the last request: texts of earlier requests end
        self.on_choice: Callable[[], None] = lambda: None
        with ui.element("section").classes("column").props(f'aria-label="{side} run"'):
            options = {run_id: generation.option_label(run) for run_id, run in listed.items()}
            self.select = ui.select(
                options, label=f"Run on the {side}", value=chosen, with_input=True, on_change=self.choose
            )
            self.select.classes("w-full").props("outlined dense options-dense")
            with ui.element("div"):
                self.score = ui.label().classes("inline font-semibold mr-3")
                self.link = ui.link("run in MLflow", new_tab=True)
                self.link.set_visibility(bool(server))
            self.settings = ui.element("div").classes("settings")
            self.error = ui.label().classes("error").props('role="alert"')
            self.text = ui.element("div").classes("text")
            self.text.props(f'role="region" tabindex="0" aria-label="{side} text"')
            for kind in ("pointermove", "pointerdown", "keydown"):
                handler = "(event) => inspectText(event, emit)"
                self.text.on(kind, self.inspect, throttle=POLL_SECONDS, js_handler=handler)
            self.rate = ui.label().classes("note rate")
            self.context = ui.label().classes("note context").props('aria-live="polite"')
            self.likeliest = ui.element("div").classes("likeliest")
        self.clear()

    @property
    def run(self) -> RunRecord:
        """Record of the selected run."""
        return self.listed[str(self.select.value)]

    def choose(self) -> None:
        """Clear the text of the previous run after a new choice."""
        self.stop()
        self.clear()
        self.on_choice()

    def describe(self, other: RunRecord) -> None:
        """Show the run's score and settings, with those that differ from the other run in bold.

        Args:
            other: Record of the run in the other column.
        """
        self.score.set_text(generation.score(self.run))
        self.link.props(f'href="{mlflow_links.run_link(self.server, self.run.run_id)}"')
        self.settings.clear()
        with self.settings:
            for setting, differs in generation.settings_diff(self.run, other):
                ui.label(setting).classes("differs" if differs else "")

    def clear(self, rate: str = "no text yet") -> None:
        """Remove the text and the error.

        Args:
            rate: What is shown in place of the number of characters.
        """
        self.next = None
        self.text.clear()
        self.likeliest.clear()
        self.context.set_text(INSPECT)
        self.error.set_visibility(False)
        self.rate.set_text(rate)

    def stop(self) -> None:
        """Stop the generation of the text; the part that is shown stays."""
        self.generation_id += 1

    async def inspect(self, event: events.GenericEventArguments) -> None:
        """Show the most likely characters after a character of the text, and which one came.

        Args:
            event: Event of the page with the number of the character in the text.
        """
        self.place = place = int(event.args)
        async with self.inspecting:
            text = "".join(block.text for block in self.text if isinstance(block, ui.label))
            reader = self.next
            if reader is None or place != self.place or place >= len(text):
                return
            likeliest = await asyncio.to_thread(reader.likeliest, text, place)
            if reader is not self.next or self.text.is_deleted:
                return
        shown = "".join(VISIBLE.get(c, c) for c in text[max(0, place + 1 - CONTEXT) : place + 1])
        settings = f"at temperature {reader.request.temperature:g} (bold: the one that came)"
        self.context.set_text(f"Next character after \u201c{shown}\u201d {settings}:")
        self.likeliest.clear()
        with self.likeliest:
            for character, share in likeliest:
                came = "came" if character == text[place + 1 : place + 2] else ""
                ui.label(VISIBLE.get(character, character)).classes(came)
                ui.element("div").classes("bar").style(f"width: {100 * share:.1f}%")
                ui.label(f"{share:.1%}").classes(came)

    async def write(self, request: PlayConfig, rate: int) -> None:
        """Generate a text until it ends, the page is closed, or a new request starts.

        An error of the model or of the prompt is shown in the column.

        Args:
            request: Prompt and settings of the generation.
            rate: Characters shown per second; 0 for no limit.
        """
        self.stop()
        current = self.generation_id

        def is_obsolete() -> bool:
            return current != self.generation_id or self.text.is_deleted

        self.clear("loading the model")
        try:
            model = await asyncio.to_thread(self.models.load, self.run)
            stream = TextStream(model, request)
        except UserError as error:
            if not is_obsolete():
                self.clear("")
                self.error.set_text(str(error))
                self.error.set_visibility(True)
            return
        if is_obsolete():
            return
        self.next = NextCharacter(model, request)
        with self.text:
            if stream.prompt:
                ui.label(stream.prompt).classes("prompt")
            block = ui.label()
        most = max(1, round(rate * POLL_SECONDS)) if rate else None
        while not stream.ended:
            began = time.monotonic()
            piece = await asyncio.to_thread(stream.next_chunk, most)
            if is_obsolete():
                return
            if len(block.text) > BLOCK:
                with self.text:
                    block = ui.label()
            block.set_text(block.text + piece)
            self.rate.set_text(stream.rate)
            await asyncio.sleep(max(0.0, POLL_SECONDS - (time.monotonic() - began)))


class Page:
    """Page of one visitor.

    Args:
        config: Validated config of the command, with the initial values of the controls.
        models: The models that both columns share.
        listed: Run id to record, the runs to choose from.
        sides: Ids of the runs that the left and the right column select first. Both begin to write when the
            page opens.
    """

    def __init__(
        self, config: PlayConfig, models: ModelCache, listed: dict[str, RunRecord], sides: list[str]
    ) -> None:
        ui.colors(primary="#1f1f1f")
        for style in STYLES:
            ui.add_css(style)
        ui.add_head_html(f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>")
        ui.html("Two runs, one prompt, side by side", sanitize=False, tag="h1")
        self.config, self.fields = config, dict[str, Any]()
        self.writing = 0  # number of uses of Write whose texts have not ended
        prompt = ui.textarea("Prompt", value=config.prompt or "").props("outlined dense autogrow rows=1")
        prompt.props('hint="empty: the prompt of each run"')
        self.fields["prompt"] = prompt.classes("w-full").on("keydown.ctrl.enter.prevent", self.write)
        with ui.element("div").classes("controls"):
            for key in generation.KEYS[1:]:
                label, value = key.replace("_", "-").capitalize(), getattr(config, key)
                check = partial(generation.validation_error, key)
                field = ui.number(label, value=value, step=STEPS[key], validation=check)
                field.props(f'outlined dense hint="{HINTS.get(key, "")}"').on("keydown.enter", self.write)
                self.fields[key] = field
            self.display_rate = ui.select(DISPLAY_RATES, label="Shown at", value=200).props("outlined dense")
        with ui.row().classes("items-center"):
            ui.button("Write", on_click=self.write, color=None).props("no-caps unelevated").classes("write")
            self.stopper = ui.button("Stop", on_click=self.stop, color=None).props("no-caps outline")
            ui.label("Ctrl+Enter in the prompt or Enter in a number field also starts.").classes("note")
        with ui.element("div").classes("columns"):
            server, _ = mlflow_links.ui_location(config) if config.tracking.enabled else ("", "")
            left, right = (
                Column(side, models, listed, chosen, server)
                for side, chosen in zip(("left", "right"), sides, strict=True)
            )
            self.columns = left, right
        for column in self.columns:
            column.on_choice = self.describe
        self.describe()
        self.stopper.disable()
        ui.timer(0, self.write, once=True)

    def describe(self) -> None:
        """Show score and settings in both columns, with the differences in bold."""
        left, right = self.columns
        left.describe(right.run)
        right.describe(left.run)

    async def write(self) -> None:
        """Generate in both columns at the same time, unless the value of a control is invalid."""
        fine = [field.validate() for field in self.fields.values()]  # each shows its own error
        if not all(fine):
            return
        typed = {key: field.value for key, field in self.fields.items()}
        request = generation.parse_request(self.config, typed)
        self.writing += 1
        self.stopper.enable()
        try:
            rate = int(self.display_rate.value)
            await asyncio.gather(*(column.write(request, rate) for column in self.columns))
        finally:
            self.writing -= 1
            if not self.writing and not self.stopper.is_deleted:
                self.stopper.disable()

    def stop(self) -> None:
        """Stop the generation in both columns."""
        for column in self.columns:
            column.stop()


def serve(config: PlayConfig, store: DirectoryStore, left: RunRecord, right: RunRecord) -> None:
    """Serve the page until Ctrl-C; print its address when it answers.

    Args:
        config: Validated config of the command, with host, port and the initial values of the controls.
        store: Store of the runs to choose from; it is read again for each visit.
        left: Record of the run that the left column selects first.
        right: Record of the run that the right column selects first.
    """
    models = ModelCache(store)

    @ui.page("/", response_timeout=60)  # a store in a network can be slow
    async def page() -> None:
        try:
            found = await asyncio.to_thread(store.finished)  # for each visit: runs may have ended
        except UserError as error:
            ui.label(str(error)).props('role="alert"')
            return
        listed = {run.run_id: run for run in [*found, left, right]}
        listed |= {run.run_id: run for run in found}  # with their aliases
        Page(config, models, listed, [left.run_id, right.run_id])

    async def announce() -> None:
        while not await asyncio.to_thread(is_listening, config.host, config.port):
            await asyncio.sleep(0.05)
        print(f"open http://{url_host(config.host)}:{config.port}/  (Ctrl-C stops the server)", flush=True)

    app.on_startup(announce)
    with contextlib.suppress(KeyboardInterrupt):
        ui.run(
            host=config.host,
            port=config.port,
            title="Two runs, side by side",
            dark=None,  # as the system
            language="en-US",
            reload=False,
            show=False,
            show_welcome_message=False,
            timeout_graceful_shutdown=1,
        )
