"""The Trainer: what it learns, what it watches, how it stops, which weights it leaves."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, nn
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.batches import Loader

CLASSES, FEATURES = 3, 4


class Batches:
    """(x, y) in fixed batches; `flipped` moves every label on by one class."""

    def __init__(self, device: str, count: int = 20, batch: int = 8, flipped: bool = False) -> None:
        rng = np.random.default_rng(5)
        y = rng.integers(0, CLASSES, count)
        x = rng.normal(size=(count, FEATURES)) + 2 * np.eye(CLASSES, FEATURES)[y]
        self.x = Tensor(x.astype(np.float32), device=device)
        self.y = Tensor((y + flipped) % CLASSES, device=device)
        self.batch = batch

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(0, len(self.x), self.batch):
            yield self.x[i : i + self.batch], self.y[i : i + self.batch]


class Recorder(nn.Callback):
    """Notes every call, and the weights at the end of each epoch."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.weights: list[dict[str, np.ndarray]] = []

    def on_fit_start(self, trainer: nn.Trainer) -> None:
        self.calls.append("start")

    def on_step_end(self, trainer: nn.Trainer, step: nn.Step) -> None:
        self.calls.append(f"step {step.epoch}/{step.epochs} {step.index}/{step.count}")

    def on_epoch_end(self, trainer: nn.Trainer, record: nn.EpochRecord) -> None:
        self.calls.append(f"epoch {record.epoch}")
        self.weights.append(trainer.model.state_dict())

    def on_fit_end(self, trainer: nn.Trainer, history: nn.History) -> None:
        self.calls.append(f"end {history.stopped}")


class StopAt(nn.Callback):
    """Raises StopTraining at a step (epoch, index), or at the end of an epoch (index None)."""

    def __init__(self, epoch: int, index: int | None = None) -> None:
        self.epoch, self.index = epoch, index

    def on_step_end(self, trainer: nn.Trainer, step: nn.Step) -> None:
        if (step.epoch, step.index) == (self.epoch, self.index):
            raise nn.StopTraining("enough")

    def on_epoch_end(self, trainer: nn.Trainer, record: nn.EpochRecord) -> None:
        if self.index is None and record.epoch == self.epoch:
            raise nn.StopTraining("enough")


def make(device: str, *callbacks: nn.Callback, lr: float = 0.1) -> nn.Trainer:
    tg.manual_seed(3)
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES)).to(device)
    return nn.Trainer(model, optim.SGD(model.parameters(), lr=lr), callbacks=callbacks)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# --- training -----------------------------------------------------------------------------------


def test_training_learns_and_records_each_epoch(device: str) -> None:
    trainer = make(device)
    history = trainer.fit(Batches(device), Batches(device), epochs=20)
    assert [record.epoch for record in history] == list(range(1, 21))
    assert history[-1].train_loss < history[0].train_loss / 2
    assert history[-1].val_accuracy is not None
    assert history[-1].val_accuracy > 0.8
    assert history[0].learning_rate == 0.1
    assert all(record.seconds > 0 and record.images_per_second > 0 for record in history)
    assert history.seconds >= sum(record.seconds for record in history)
    assert (history.stopped, history.kept_epoch) == ("finished", 20)
    assert trainer.history is history


def test_the_figures_of_an_epoch_are_means_over_its_images(device: str) -> None:
    """With a learning rate of almost nothing they are those of the weights as they stand."""
    trainer = make(device, lr=1e-30)
    data = Batches(device)
    record = trainer.fit(data, data, epochs=1)[0]
    logits = trainer.model(data.x)
    expected = logits.cross_entropy(data.y).item()
    accuracy = (logits.numpy().argmax(axis=1) == data.y.numpy()).mean()
    assert record.train_loss == pytest.approx(expected, rel=1e-5)
    assert record.val_loss == pytest.approx(expected, rel=1e-5)
    assert record.train_accuracy == record.val_accuracy == pytest.approx(accuracy)


def test_without_a_validation_set_its_figures_are_none(device: str) -> None:
    record = make(device).fit(Batches(device), epochs=1)[0]
    assert (record.val_loss, record.val_accuracy) == (None, None)


def test_callbacks_are_told_in_order(device: str) -> None:
    recorder = Recorder()
    make(device, recorder).fit(Batches(device), epochs=2)
    steps = [[f"step {epoch}/2 {index}/3" for index in (1, 2, 3)] for epoch in (1, 2)]
    assert recorder.calls == ["start", *steps[0], "epoch 1", *steps[1], "epoch 2", "end finished"]


def test_the_schedule_counts_steps_over_all_epochs_and_fits(device: str) -> None:
    asked: list[int] = []
    trainer = make(device)
    trainer.schedule = lambda step: asked.append(step) or 0.01 * (step + 1)  # type: ignore[func-returns-value]
    history = trainer.fit(Batches(device), epochs=2)
    assert asked == list(range(6))
    assert [record.learning_rate for record in history] == pytest.approx([0.03, 0.06])
    trainer.fit(Batches(device), epochs=1)
    assert asked == list(range(9))


def test_metrics_are_read_once_per_epoch(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for training, once for validation: no step waits for the device."""
    reads: list[int] = []
    read = backend.to_numpy

    def counted(array: backend.Array) -> np.ndarray:
        reads.append(array.size)
        return read(array)

    monkeypatch.setattr(backend, "to_numpy", counted)
    make(device).fit(Batches(device), Batches(device), epochs=4)
    assert reads == [9, 9] * 4  # loss, right answers and targets of three batches


def test_validation_leaves_the_model_and_the_random_numbers_alone(device: str) -> None:
    losses = []
    for val_loader in (None, Batches(device)):
        tg.manual_seed(1)
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(FEATURES, CLASSES)).to(device)
        trainer = nn.Trainer(model, optim.SGD(model.parameters(), lr=0.1))
        losses.append(trainer.fit(Batches(device), val_loader, epochs=3).column("train_loss"))
        assert model.training
    assert losses[0] == losses[1]


# --- stopping -----------------------------------------------------------------------------------


def test_early_stopping_restores_the_best_weights(device: str) -> None:
    """Wrong labels in the validation set: the better the training goes, the worse it looks."""
    recorder = Recorder()
    trainer = make(device, recorder)
    history = trainer.fit(Batches(device), Batches(device, flipped=True), epochs=50, patience=3)
    losses = history.column("val_loss")
    best = int(np.argmin(np.array(losses, float)))
    assert (history.stopped, history.kept_epoch, len(history)) == ("early", best + 1, best + 4)
    assert same(trainer.model.state_dict(), recorder.weights[best])


def test_patience_keeps_the_best_weights_when_the_epochs_end_first(device: str) -> None:
    recorder = Recorder()
    trainer = make(device, recorder)
    history = trainer.fit(Batches(device), Batches(device, flipped=True), epochs=4, patience=9)
    assert history.stopped == "finished"
    assert history.kept_epoch < 4
    assert same(trainer.model.state_dict(), recorder.weights[history.kept_epoch - 1])


def test_without_patience_the_last_weights_stay(device: str) -> None:
    recorder = Recorder()
    trainer = make(device, recorder)
    history = trainer.fit(Batches(device), Batches(device, flipped=True), epochs=4)
    assert history.kept_epoch == 4
    assert same(trainer.model.state_dict(), recorder.weights[-1])


@pytest.mark.parametrize("stop", [StopAt(2), StopAt(3, 2)])
def test_a_callback_stops_the_run_at_the_last_finished_epoch(device: str, stop: StopAt) -> None:
    recorder = Recorder()
    trainer = make(device, recorder, stop)
    history = trainer.fit(Batches(device), epochs=9)
    assert (history.stopped, history.kept_epoch, len(history)) == ("enough", 2, 2)
    assert same(trainer.model.state_dict(), recorder.weights[-1])
    assert recorder.calls[-1] == "end enough"


def test_stopped_in_the_first_epoch_the_weights_stay_as_they_are(device: str) -> None:
    before = make(device).model.state_dict()
    trainer = make(device, StopAt(1, 2))
    history = trainer.fit(Batches(device), epochs=9)
    assert (history.stopped, history.kept_epoch, len(history)) == ("enough", 0, 0)
    assert not same(trainer.model.state_dict(), before)


def test_a_plateau_watches_the_validation_loss(device: str) -> None:
    plateau = nn.schedules.Plateau(0.1, patience=0, threshold=1e9, threshold_mode="abs")
    trainer = make(device)
    trainer.schedule = plateau
    history = trainer.fit(Batches(device), Batches(device), epochs=3)
    assert plateau.best < np.inf  # the first value: none is better by so much
    rates = [record.learning_rate for record in history.records]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01])


# A step with such a rate leaves weights that overflow in the next one.
def explode_at(step: int) -> "nn.schedules.Schedule":
    return lambda now: 1e38 if now == step else 0.1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_turns_nan_names_the_step_and_keeps_the_last_weights(device: str) -> None:
    recorder = Recorder()
    trainer = make(device, recorder)
    trainer.schedule = explode_at(9)  # the first step of epoch 4
    with pytest.raises(nn.DivergedError) as caught:
        trainer.fit(Batches(device), Batches(device), epochs=9)
    error = caught.value
    assert str(error).startswith(f"the loss became {error.value} in epoch 4, step 2 of 3;")
    assert not np.isfinite(error.value)
    assert (error.epoch, error.step, error.history) == (4, 2, trainer.history)
    assert (trainer.history.stopped, trainer.history.kept_epoch) == ("diverged", 3)
    assert same(trainer.model.state_dict(), recorder.weights[-1])
    assert recorder.calls[-1] == "end diverged"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_last_step_that_breaks_the_weights_shows_in_validation(device: str) -> None:
    trainer = make(device)
    trainer.schedule = explode_at(5)  # the last step of epoch 2
    with pytest.raises(nn.DivergedError, match="epoch 2, step 3 of 3"):
        trainer.fit(Batches(device), Batches(device), epochs=9)
    assert trainer.history.kept_epoch == 1
    assert np.isfinite(trainer.evaluate(Batches(device)).loss)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_in_the_first_epoch_goes_back_to_the_start(device: str) -> None:
    before = make(device).model.state_dict()
    trainer = make(device)
    trainer.schedule = explode_at(0)
    with pytest.raises(nn.DivergedError, match="epoch 1, step 2 of 3"):
        trainer.fit(Batches(device), epochs=2)
    assert same(trainer.model.state_dict(), before)
    assert (trainer.history.kept_epoch, len(trainer.history)) == (0, 0)


def test_batch_norm_statistics_are_restored_too(device: str) -> None:
    model = nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.BatchNorm1d(CLASSES)).to(device)
    recorder = Recorder()
    trainer = nn.Trainer(
        model, optim.SGD(model.parameters(), lr=0.1), callbacks=[recorder, StopAt(3, 1)]
    )
    trainer.fit(Batches(device), epochs=9)
    assert "1.running_mean" in recorder.weights[-1]
    assert same(model.state_dict(), recorder.weights[-1])


# --- using a model ------------------------------------------------------------------------------


def test_evaluate_gives_loss_accuracy_and_every_answer(device: str) -> None:
    trainer, data = make(device), Batches(device)
    trainer.model.train()
    result = trainer.evaluate(data)
    logits = trainer.model(data.x)
    assert result.loss == pytest.approx(logits.cross_entropy(data.y).item(), rel=1e-5)
    np.testing.assert_allclose(result.probabilities, logits.softmax(axis=1).numpy(), rtol=1e-5)
    np.testing.assert_array_equal(result.labels, data.y.numpy())
    assert result.accuracy == (result.probabilities.argmax(axis=1) == result.labels).mean()
    assert trainer.model.training


def test_predict_takes_a_loader_or_a_tensor(device: str) -> None:
    trainer, data = make(device), Batches(device)
    from_loader = trainer.predict(data)
    from_tensor = trainer.predict(data.x, batch_size=7)
    assert from_loader.shape == (20, CLASSES)
    np.testing.assert_allclose(from_loader.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(from_loader, from_tensor, rtol=1e-5)


class Dropping(nn.Module):
    """A loss with dropout of its own."""

    def __init__(self) -> None:
        self.drop, self.fixed = nn.Dropout(0.5), nn.Dropout(0.5).eval()

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.fixed(self.drop(output)).cross_entropy(target)  # type: ignore[no-any-return]


def test_a_loss_module_is_in_evaluation_mode_while_the_model_is(device: str) -> None:
    trainer = make(device)
    expected = trainer.evaluate(Batches(device)).loss
    trainer.loss = loss = Dropping()
    assert trainer.evaluate(Batches(device)).loss == pytest.approx(expected)
    assert trainer.fit(Batches(device), Batches(device), epochs=1)[-1].val_loss == pytest.approx(
        trainer.evaluate(Batches(device)).loss
    )
    modes = [module.training for module in (loss, loss.drop, loss.fixed)]
    assert modes == [True, True, False]


def test_a_loss_of_ones_own(device: str) -> None:
    trainer = make(device)
    trainer.loss = nn.CrossEntropyLoss(label_smoothing=0.5)
    smooth = trainer.evaluate(Batches(device)).loss
    expected = trainer.model(Batches(device).x).cross_entropy(Batches(device).y, 0.5).item()
    assert smooth == pytest.approx(expected, rel=1e-5)


# --- errors -------------------------------------------------------------------------------------


class Empty(Batches):
    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epochs": 0}, "[Trainer] epochs must be at least 1, got 0"),
        ({"patience": 0}, "[Trainer] patience must be at least 1, got 0"),
        ({"patience": 2}, "[Trainer] patience needs a val_loader: there is nothing to watch"),
        ({"train_loader": Empty("cpu")}, "[Trainer] the training loader has no batches"),
        ({"val_loader": Empty("cpu")}, "[Trainer] the validation loader has no batches"),
    ],
)
def test_fit_refuses(options: dict[str, Loader | int], text: str) -> None:
    arguments = {"train_loader": Batches("cpu"), "epochs": 1} | options
    with pytest.raises(ValueError, match=r"^\[Trainer\]") as caught:
        make("cpu").fit(**arguments)  # type: ignore[arg-type]
    assert text in str(caught.value)


def test_nothing_to_evaluate_or_predict() -> None:
    with pytest.raises(ValueError, match=r"\[Trainer\] the evaluation loader has no batches"):
        make("cpu").evaluate(Empty("cpu"))
    with pytest.raises(ValueError, match=r"\[Trainer\] nothing to predict: the data is empty"):
        make("cpu").predict(Tensor(np.zeros((0, FEATURES), np.float32)))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (0, "[Meter] expected at least one step, got none: the loader gave nothing"),
        (3, "[Meter] expected 2 steps, as len(loader) says, got more"),
    ],
)
def test_a_loader_that_is_not_as_long_as_it_says_is_named(given: int, text: str) -> None:
    class Short(list[Any]):
        def __len__(self) -> int:
            return 2

    batch = (Tensor(np.ones((3, 2), np.float32)), Tensor(np.zeros(3, np.int64)))
    model = nn.Sequential(nn.Linear(2, 2))
    trainer = nn.Trainer(model, nn.optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=re.escape(text)):
        trainer.fit(Short([batch] * given), epochs=1)
    with pytest.raises(ValueError, match=re.escape(text)):
        trainer.evaluate(Short([batch] * given))


def test_predicting_no_example_at_a_time_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    trainer = nn.Trainer(model, nn.optim.SGD(model.parameters()))
    text = r"\[Trainer\] batch_size must be an integer of at least 1, got 0"
    with pytest.raises(ValueError, match=text):
        trainer.predict(Tensor(np.ones((2, 2), np.float32)), batch_size=0)
