"""The grammar of 4M's texts: which ids may come next, so that what is drawn can be read as records.

The state keeps what a form must know of the items before (its context), and the ids of the item that is
being written; `fourm_codecs.rules_4m` says what each form lets follow.

Shapes: V ids of the vocabulary.
"""

from fourm_codecs.forms_4m import RecordForm
from fourm_codecs.grammar import ACCEPTED, Mask, State, id_mask
from fourm_codecs.rules_4m import rules_of
from fourm_codecs.words_4m import Words


class TextGrammar:
    """The grammar of one form.

    Args:
        form: of the records.
        words: of the tokenizer.
        max_items: most records.

    Attributes:
        special: special ids of the tokenizer.
        vocab_size: ids are in [0, vocab_size).
        start: the state of an empty sequence.
    """

    def __init__(self, form: RecordForm, words: Words, max_items: int) -> None:
        self._rules, self._max_items = rules_of(form, words, max_items), max_items
        self.special, self.vocab_size = words.file.special, words.file.size
        self.start = State(0, 0, 0)

    def step(self, state: State, identity: int) -> State | None:
        """The state after one more token; None if it may not come here."""
        if state.items < 0:
            return None
        settled = self._settled(state)
        if identity == self.special.end:
            return ACCEPTED if settled is not None and self._rules.may_end(settled.field) else None
        for where in self._places(state):
            if any(
                span.start <= identity < span.stop for span in self._rules.spans(where.field, where.memory)
            ):
                return self._behind(where, identity)
        return None

    def is_final(self, state: State) -> bool:
        """Whether the set is complete, its end token written."""
        return state.items < 0

    def distance(self, state: State) -> int:
        """Fewest tokens to acceptance, the end token included."""
        if state.items < 0:
            return 0
        rules = self._rules
        rest = rules.fewest(state.field, state.memory) if state.memory else 0
        context = rules.after(state.field, state.memory) if state.memory else state.field
        return rest + rules.owed(context) + 1

    def allowed(self, state: State, budget: int) -> Mask:
        """Which ids may come next so that the whole set still fits.

        Args:
            state: where the sequence stands.
            budget: tokens left, the next one and the end token included.

        Returns:
            (V,) read-only. Not empty if distance(state) <= budget and the state is not final.
        """
        if state.items < 0:
            return id_mask(self.vocab_size, ())
        fitting: list[tuple[int, int]] = []
        settled = self._settled(state)
        if settled is not None and budget >= 1 and self._rules.may_end(settled.field):
            fitting.append((self.special.end, self.special.end + 1))
        for where in self._places(state):
            fitting += [
                (span.start, span.stop)
                for span in self._rules.spans(where.field, where.memory)
                if 1 + self.distance(self._behind(where, span.start)) <= budget
            ]
        return id_mask(self.vocab_size, tuple(fitting))

    def _behind(self, where: State, identity: int) -> State:
        memory = (*where.memory, identity)
        state = State(where.items, where.field, len(memory), memory)
        if self._rules.fewest(where.field, memory) == 0 and not self._rules.spans(where.field, memory):
            settled = self._settled(state)
            assert settled is not None, "the item is complete"
            return settled
        return state

    def _settled(self, state: State) -> State | None:
        """The state with its item closed; None while the item is not complete."""
        if not state.memory:
            return state
        rules = self._rules
        if rules.fewest(state.field, state.memory):
            return None
        items = state.items + rules.is_record(state.memory)
        return State(items, rules.after(state.field, state.memory), 0)

    def _places(self, state: State) -> list[State]:
        """Where the next id may belong: to the item that is begun, or, if it is complete, to another."""
        places = [state] if state.memory else []
        settled = self._settled(state)
        if settled is not None and settled.items < self._max_items:
            places.append(settled)
        return places
