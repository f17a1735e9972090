"""An audit's columns beside its images: checked before the images are embedded, as far as they are known by then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from fdgpu.arrays import Array
from fdgpu.auditing.columns.answers import ModelAnswers, filled
from fdgpu.auditing.columns.class_names import ClassNames, Outputs
from fdgpu.auditing.columns.conditions import has_conditions
from fdgpu.auditing.columns.inputs import AuditInputs, check_inputs
from fdgpu.auditing.columns.one_column import KnownColumns, read_known
from fdgpu.auditing.columns.pairing import Paired, check_agreement, pair
from fdgpu.auditing.columns.tables import ColumnNames
from fdgpu.auditing.images import Embedded
from fdgpu.auditing.notes import Notes
from fdgpu.auditing.slices import NO_SEARCH, SliceSearch
from fdgpu.checks import shown
from fdgpu.embedding.classifier import Classifier
from fdgpu.embedding.loading import View
from fdgpu.embedding.sources import FileSource, ImageSource, TensorSource
from fdgpu.errors import InputError

Model = Classifier | nn.Module | str
ANSWERED = ("labels", "predictions", "confidence", "true_probability")
NO_VIEW = (
    "it is not known how the model's images are preprocessed: pass preprocess, a function of a PIL image such as "
    "weights.transforms(), or a Dataset with that transform, or name the model, as in model='torchvision:resnet50'"
)


@dataclass(frozen=True)
class Laid:
    """What is known before the images are embedded.

    Attributes:
        paired: images and columns.
        inputs: the columns, checked; None where some come with the images or from the model.
        answering: the model beside the embedder; None where predictions were given.
        class_names: as given, or as the source has them.
        ignores_groups: leave out those of a table.
        asked: what else is known of the images, and how slices of it are looked for.
    """

    paired: Paired
    inputs: AuditInputs | None
    answering: ModelAnswers | None
    class_names: ClassNames | None
    ignores_groups: bool
    asked: SliceSearch = NO_SEARCH

    @property
    def source(self) -> ImageSource:
        """The images."""
        return self.paired.source

    def known(self, ids: Sequence[str]) -> KnownColumns:
        """Return what else is known of images that have come.

        Raises:
            InputError: as :func:`~fdgpu.auditing.columns.one_column.read_known`.
        """
        return _known(self.paired.joined_further(ids), self.asked, len(ids))

    def completed(self, embedded: Embedded, notes: Notes) -> tuple[AuditInputs, Embedded]:
        """Return the checked columns, and the images that can be used, now that all have come.

        Raises:
            InputError: as :func:`check_inputs`, and where labels that came with the images are others than those given.
        """
        n = len(embedded.ids)
        inputs, source = self.inputs, self.source
        if len(set(embedded.ids)) < n and not isinstance(source, FileSource):  # of which one may be listed twice
            twice, count = Counter(embedded.ids).most_common(1)[0]
            raise InputError(f"images gave {count} images the id {shown(twice)}: give every image an id of its own")
        splits_came = self.paired.columns["splits"] is None and any(one is not None for one in embedded.splits)
        if inputs is None or splits_came:
            columns = dict(self.paired.joined(embedded.ids))
            names = self.class_names
            if splits_came:
                columns["splits"] = embedded.splits
            if self.answering is not None:
                answered = self.answering.finish()
                embedded = embedded.without(answered.skipped)
                names = answered.class_names
                columns |= {name: getattr(answered, name) for name in ANSWERED}
                notes.add(answered.note)
            elif columns["labels"] is None:
                columns["labels"] = filled(embedded.labels, np.flatnonzero(embedded.readable).tolist(), embedded.ids)
            inputs = _checked(columns, names, self.ignores_groups)
            for doubt in inputs.doubts:
                if doubt not in notes.said:
                    notes.doubt(doubt)
            for note in inputs.notes:
                if note not in notes.said:
                    notes.add(note)
        if len(inputs) != n:
            raise InputError(f"images gave {n} pictures, labels has {len(inputs)}: pass one label an image")
        if self.paired.columns["labels"] is not None:
            own_labels = embedded.labels if source.labels is None else source.labels
            check_agreement(inputs, source, own_labels, embedded.ids)
        return inputs, embedded


def lay(
    images: object,
    columns: Mapping[str, Array],
    names_of_columns: ColumnNames | None,
    class_names: ClassNames | None,
    order: str | None,
    allow_outside: bool,
    model: Model | None,
    preprocess: object,
    notes: Notes,
    asked: SliceSearch = NO_SEARCH,
) -> Laid:
    """Lay columns beside images, and check what is known of them.

    Raises:
        InputError: names what was expected, what came, and the remedy.
    """
    groups = columns["groups"]
    told = not isinstance(groups, str)
    if not told and groups not in ("auto", "none"):
        raise InputError(f"groups is {shown(groups)}: pass one id an image, or 'auto' or 'none'")
    answered = model is not None
    if preprocess is not None and not answered:
        raise InputError("preprocess is given without a model: pass the model, or leave it out")
    beside = [name for name in ("confidence", "true_probability") if answered and columns[name] is not None]
    if beside:
        raise InputError(f"{beside[0]} is given, and a model too, which says it: leave it out")
    given = {**columns, "groups": groups if told else None}
    paired = pair(images, given, order, allow_outside, names=names_of_columns, answered=answered, further=asked.values)
    count = paired.source.count if paired.columns["labels"] is None else len(paired.columns["labels"])
    if paired.paths is None and count is not None:
        _known(paired.further, asked, count)  # what cannot be is said at once
    source, ignores = paired.source, not told and groups == "none"
    if paired.columns["splits"] is None and paired.paths is None:
        paired = replace(paired, columns={**paired.columns, "splits": source.splits})
    for doubt in source.doubts:
        notes.doubt(doubt)
    labels = paired.columns["labels"]
    if labels is not None and paired.paths is None and source.count not in (None, len(labels)):
        raise InputError(f"images has {source.count} entries, labels has {len(labels)}: pass one label an image")
    names = class_names if class_names is not None or answered else source.class_names
    if model is None:
        inputs = None
        if labels is not None and paired.paths is None:
            inputs = _checked(paired.columns, names, ignores)
            for doubt in (*([paired.doubt(inputs)] if paired.by_listing else ()), *inputs.doubts):
                notes.doubt(doubt)
            for note in inputs.notes:
                notes.add(note)
        return Laid(paired, inputs, None, names, ignores, asked)
    classifier, view = opened_classifier(model, preprocess, source)
    by_folders = paired.by_folders and class_names is None
    outputs = Outputs(classifier, source.class_names if class_names is None else class_names, by_folders)
    for doubt in (*classifier.doubts, *outputs.doubts):
        notes.doubt(doubt)
    if labels is not None and paired.paths is None:
        labels = _listed(labels)
        if not has_conditions(labels):  # all that can be checked now
            true = outputs.columns_of(labels)
            check_inputs(**{**paired.columns, "labels": true, "predictions": true}, class_names=None)
    return Laid(paired, None, ModelAnswers(classifier, outputs, labels, view), names, ignores, asked)


def opened_classifier(model: Model, preprocess: object, source: ImageSource) -> tuple[Classifier, View]:
    """Return the classifier, and what it takes of an image.

    A module takes what ``preprocess`` makes of an image, or else the source's own transform; of a tensor of images that
    was given as it is, the images as they are. A model by name has its own preprocessing.

    Raises:
        InputError: where nothing says how its images are preprocessed.
    """
    if isinstance(model, (Classifier, str)) and preprocess is not None:
        raise InputError("preprocess is given beside a model that has its own: leave it out")
    if isinstance(model, str):
        classifier = Classifier.from_name(model)
    elif isinstance(model, Classifier):
        classifier = model
    else:
        classifier = Classifier.from_model(model, preprocess or source.transform)  # type: ignore[arg-type]  # checked there
        if preprocess is None and source.transformed:
            return classifier, View(None)
    if classifier.view is not None:
        return classifier, classifier.view
    if source.transformed:
        return classifier, View(None)
    if isinstance(source, TensorSource):
        return classifier, View(lambda pixels: pixels)
    raise InputError(NO_VIEW)


def _known(further: Mapping[str, Array], asked: SliceSearch, n: int) -> KnownColumns:
    return read_known(further if asked.values else asked.chosen(further), n, asked.unknown)


def _checked(columns: Mapping[str, Array], names: ClassNames | None, ignores_groups: bool) -> AuditInputs:
    return check_inputs(**{**columns, **({"groups": None} if ignores_groups else {})}, class_names=names)


def _listed(labels: Array) -> Sequence[object]:
    """Return labels of any kind as a sequence of names, numbers, or rows of several conditions."""
    for name in ("to_pylist", "tolist", "to_list"):
        if hasattr(labels, name):
            return list(getattr(labels, name)()) if not has_conditions(labels) else list(np.asarray(labels))
    return list(labels)
