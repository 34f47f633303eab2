"""Images that are decoded when they are needed: what comes out, in which order, and what a training makes of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from toys import pgd_evaluator, same_bytes

from sat_core.arm import run_arm
from sat_core.augmentation import AUGMENTATIONS, crop_box
from sat_core.backend import Backend
from sat_core.batches import Planner, with_images
from sat_core.data import DataSet, Examples, check_files
from sat_core.datasets import get_dataset
from sat_core.errors import DataError, Interrupted, SpecError
from sat_core.images import resize
from sat_core.job import Job
from sat_core.ranking import run_ranking
from sat_core.reference import NumpyBackend
from sat_core.spec import Spec
from sat_core.study import Study
from sat_core.tables import nest
from sat_datasets import workers
from sat_datasets.stream import FileImages
from sat_datasets.workers import AHEAD
from sat_evaluation.run.studies import prepare

pytestmark = pytest.mark.data

SIZE = 16
CROP = AUGMENTATIONS.get("imagenet")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of JPEG files of many sizes: stripes across or along."""
    from PIL import Image

    root = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 24)):
        for number in range(count):
            h, w = rng.integers(20, 60, 2)
            along = np.sin(np.arange(h)[:, None] / 2) if number % 2 else np.sin(np.arange(w)[None] / 2)
            x = 128 + 90 * along[..., None] + rng.integers(-20, 20, (h, w, 3))
            folder = root / part / ("across", "along")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.jpg", quality=90)
    return root


@pytest.fixture(scope="module")
def data(tree: Path) -> DataSet:
    return get_dataset(f"folder:{tree}?size={SIZE}")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding in this process: what is tested is not where it happens."""
    monkeypatch.setenv("SAT_WORKERS", "0")


def draws(n: int, seed: int = 0) -> np.ndarray:
    made = CROP.draw(np.random.default_rng(seed), n)
    assert made is not None
    return made


def test_the_test_time_transform_is_resize_and_centre_crop(data: DataSet, tree: Path) -> None:
    from PIL import Image
    from torchvision.transforms import CenterCrop, Compose, Resize

    transform = Compose([Resize(round(SIZE * 256 / 224)), CenterCrop(SIZE)])
    paths = sorted(tree.glob("test/*/*.jpg"))
    expected = np.stack([np.asarray(transform(Image.open(path))) for path in paths])
    found = data.test.images[np.arange(len(data.test))]
    assert found.dtype == np.uint8
    assert data.image_shape == found.shape[1:] == (SIZE, SIZE, 3)
    assert np.array_equal(found, expected)
    assert data.class_names == ("across", "along")
    assert data.test.labels.tolist() == [0] * 12 + [1] * 12


def test_a_random_crop_is_the_part_that_the_draws_say(data: DataSet, tree: Path, here: None) -> None:
    from PIL import Image
    from torchvision.transforms.functional import resized_crop

    paths, chosen = sorted(tree.glob("train/*/*.jpg")), draws(40)
    (found,) = data.train.images.stream([(np.arange(40), chosen)])
    for path, row, pixels in zip(paths, chosen, found, strict=True):
        image = Image.open(path)
        box = crop_box(row, image.height, image.width)
        assert np.array_equal(pixels, np.asarray(resized_crop(image, *box, size=[SIZE, SIZE])))


@pytest.mark.parametrize(("h", "w"), [(256, 256), (300, 200), (40, 400), (8, 9)])
def test_crops_are_those_of_the_recipe(h: int, w: int) -> None:
    """Inside; as torchvision's in the mean of their area and ratio, whose draws are others."""
    import torch
    from torchvision.transforms import RandomResizedCrop

    boxes = np.array([crop_box(row, h, w) for row in draws(4000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= h).all()
    assert (left + width <= w).all()
    assert {*range(h - height.min() + 1)} >= {*top} or h == height.min()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.zeros(1, h, w)
        theirs = np.array([RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)])
    for found, expected in zip(boxes.T, theirs.T, strict=True):
        assert found.mean() == pytest.approx(expected.mean(), abs=0.05 * max(h, w))
        assert found.std() == pytest.approx(expected.std(), abs=0.05 * max(h, w))


@pytest.mark.parametrize("workers", ["0", "1", "3"])
def test_the_order_is_that_of_the_requests_whoever_decodes(
    data: DataSet, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("SAT_WORKERS", workers)
    images, asked = data.train.images, 0
    parts = [np.array([3, 3, 0]), np.array([39]), *(np.array([i, 39 - i]) for i in range(10))]

    def requests() -> Iterator[Any]:
        nonlocal asked
        for place, part in enumerate(parts):
            asked += 1
            yield part, None if place % 2 else draws(len(part), place)

    state, most = torch.random.get_rng_state(), 0
    for place, found in enumerate(images.stream(requests())):
        expected = images.read(parts[place], None if place % 2 else draws(len(parts[place]), place))
        assert np.array_equal(found, expected)
        most = max(most, asked - place)
    assert place == len(parts) - 1
    assert most <= AHEAD * int(workers) + 1  # never the whole set ahead
    assert torch.equal(state, torch.random.get_rng_state())


def test_plans_keep_their_images(data: DataSet, here: None) -> None:
    spec = Spec.from_tables({"data": {"name": "x"}, "training": {"epochs": 1, "batch_size": 7}})
    split = Job(spec=spec, data=data, backend=NumpyBackend(), directory=Path()).no_members()
    training = attrs.evolve(spec.training, augmentation="imagenet")
    planner = Planner(split, training, spec.attack, data.image_shape)
    plans = list(with_images(planner.epoch(0, 2), data.train.images, CROP))
    assert [plan.step for plan in plans] == [2, 3, 4]
    for plan, bare in zip(plans, planner.epoch(0, 2), strict=True):
        assert np.array_equal(plan.index, bare.index)
        assert np.array_equal(plan.images, data.train.images.read(plan.index, plan.draws))
    arrays = data.train.images[np.arange(40)]
    assert all(plan.images is None for plan in with_images(planner.epoch(0), arrays, CROP))


def job(name: str, directory: Path, backend: Backend, **changes: Any) -> Job:
    keys = {
        "data.name": name,
        "training.epochs": 2,
        "training.batch_size": 8,
        "training.lr": 0.02,
        "training.augmentation": "imagenet",
        "subset.size": 0.5,
        "evaluation.selection_share": 0.3,
        **changes.pop("keys", {}),
    }
    options = {"data": get_dataset(name), "backend": backend, "evaluator": pgd_evaluator, **changes}
    return Job(spec=Spec.from_tables(nest(keys)), directory=directory, **options)


def test_a_training_on_streamed_images_is_the_same_wherever_it_is_broken_off(
    tree: Path, tmp_path: Path, backend: Backend, here: None
) -> None:
    name = f"folder:{tree}?size={SIZE}"

    def run(folder: Path, **changes: Any) -> None:
        with backend.session(job(name, folder, backend).spec.training):
            ranking = run_ranking(job(name, folder / "ranking", backend, **changes))
            run_arm(job(name, folder / "arm", backend, **changes), ranking)

    run(tmp_path / "whole")
    for starts in range(1, 40):
        asked = iter(range(10**6))
        try:
            run(tmp_path / "broken", stop=lambda asked=asked, n=starts + 2: next(asked) >= n)
            break
        except Interrupted:
            pass
    assert starts > 3
    same_bytes(tmp_path / "whole", tmp_path / "broken")


def test_worker_processes_change_nothing(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in ("0", "2"):
        monkeypatch.setenv("SAT_WORKERS", count)
        keys = {"subset.strategy": "random", "training.epochs": 1}
        run_arm(job(f"folder:{tree}?size={SIZE}", tmp_path / count / "a", NumpyBackend(), keys=keys))
    same_bytes(tmp_path / "0", tmp_path / "2")


def test_autoattack_takes_streamed_images_as_if_they_were_in_memory(
    data: DataSet, backend: Backend, tmp_path: Path, here: None
) -> None:
    about = {"classes": 2, "image_shape": data.image_shape, "mean": data.mean, "std": data.std}
    classifier = backend.build("small-cnn", **about)  # type: ignore[arg-type]
    index = np.array([20, 3, 11, 0, 7, 15])
    held = Examples(data.test.images[index], data.test.labels[index], 2)
    found = [
        backend.evaluate(classifier, x.images, x.labels, norm="L2", eps=0.1, attacks=("apgd-ce",), batch_size=4)
        for x in (data.test.take(index), held)
    ]
    assert np.array_equal(found[0].broken_by, found[1].broken_by)
    assert np.array_equal(found[0].label, data.test.labels[index])


def test_a_fingerprint_is_of_names_contents_and_transform(
    tree: Path, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    prints = [data.fingerprint(), get_dataset(f"folder:{tmp_path / 'copy'}?size={SIZE}").fingerprint()]
    assert prints[0] == prints[1]
    prints.append(get_dataset(f"folder:{tree}?size=20").fingerprint())
    victim = sorted((tmp_path / "copy").rglob("*.jpg"))[0]
    content = victim.read_bytes()
    for changed in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        victim.write_bytes(changed)
        prints.append(get_dataset(f"folder:{tmp_path / 'copy'}?size={SIZE}").fingerprint())
    assert len(set(prints)) == 4
    monkeypatch.setattr("sat_datasets.stream.HASHED", 0)  # of more than that, names and sizes have to do
    assert get_dataset(f"folder:{tmp_path / 'copy'}?size={SIZE}").fingerprint() not in prints


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_broken_file_is_named_in_two_lines(
    tree: Path, tmp_path: Path, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAT_WORKERS", workers)
    shutil.copytree(tree, tmp_path / "tree")
    victim = sorted((tmp_path / "tree" / "test").rglob("*.jpg"))[5]
    victim.write_bytes(victim.read_bytes()[:300])
    images = get_dataset(f"folder:{tmp_path / 'tree'}?size={SIZE}").test.images
    parts = ((np.arange(i, i + 4), None) for i in range(0, 24, 4))
    with pytest.raises(DataError) as error:
        list(images.stream(parts))
    assert str(victim) in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_a_pipe_among_images_is_named_and_not_waited_for(tree: Path, tmp_path: Path, here: None) -> None:
    shutil.copytree(tree, tmp_path / "tree")
    pipe = tmp_path / "tree/test/along/z.jpg"
    os.mkfifo(pipe)
    data = get_dataset(f"folder:{tmp_path / 'tree'}?size={SIZE}")
    with pytest.raises(DataError, match=f"{pipe}: expected an image, got a pipe"):
        check_files(*data.parts)
    with pytest.raises(DataError, match=f"{pipe}: expected a file, got a pipe"):
        data.fingerprint()


def test_a_run_looks_at_its_images_before_it_begins(
    tree: Path, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    (victim,) = broken_tree(tree, tmp_path, 1)
    (tmp_path / "tree" / "test").rename(tmp_path / "tree" / "val")
    victim = tmp_path / "tree" / "val" / victim.relative_to(tmp_path / "tree" / "test")

    def start(name: str, **transfer: Any) -> Any:
        settings = {"training": {"epochs": 1, "batch_size": 8}, "subset": {"size": 1.0}}
        study = Study(settings={"data": {"name": name}, **settings}, transfer=transfer)
        return prepare(study, tmp_path / "out", NumpyBackend())

    whole, broken = f"folder:{tree}?size={SIZE}", f"folder:{tmp_path / 'tree'}?size={SIZE}"
    for asked in ({"name": broken}, {"name": whole, "targets": [broken], "epochs": 1}):
        with pytest.raises(DataError, match=f"{victim}: expected an image that Pillow can read"):
            start(**asked)
        assert not (tmp_path / "out").exists()
        assert f"note: {tmp_path / 'tree'} has no folder test: the images in val are" in capsys.readouterr().err
    shutil.copy(sorted(tree.glob("test/*/*.jpg"))[0], victim)
    assert [unit.name for unit in start(broken)] == ["arm"]


PROGRAM = """
import numpy as np
from sat_core.datasets import get_dataset
images = get_dataset('folder:{tree}?size=16').train.images
print(sum(len(batch) for batch in images.stream((np.arange(i, i + 4), None) for i in range(0, 40, 4))))
"""
"""Without a ``__main__`` guard: worker processes that run it once more would start workers of their own."""


def program(arguments: list[str], folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SAT_WORKERS": "2"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, cwd=folder, timeout=120, capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("form", ["script", "-c", "stdin"])
def test_a_plain_program_decodes_in_worker_processes(form: str, tree: Path, tmp_path: Path) -> None:
    text = PROGRAM.format(tree=tree)
    (tmp_path / "program.py").write_text(text)
    arguments = {"script": ["program.py"], "-c": ["-c", text], "stdin": ["-"]}[form]
    done = program(arguments, tmp_path, input=text)
    assert (done.stdout, done.stderr, done.returncode) == ("40\n", "", 0)


def test_workers_import_no_module_of_the_users(tree: Path, tmp_path: Path) -> None:
    """Modules beside a script are found before Python's, in the script itself only."""
    for name in ("statistics", "queue", "json", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')")
    later = "import sys, json, queue, statistics\nsys.path.insert(0, '')\n"
    done = program(["-P", "-c", later + PROGRAM.format(tree=tree)], tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("40\n", "", 0)


def broken_tree(tree: Path, folder: Path, count: int) -> list[Path]:
    """A copy of `tree` in `folder`, some of whose test images are web pages or cut off."""
    shutil.copytree(tree, folder / "tree")
    victims = sorted((folder / "tree" / "test").rglob("*.jpg"))[:count]
    for place, victim in enumerate(victims):
        victim.write_bytes(b"<!doctype html>" if place % 2 else victim.read_bytes()[:-200])
    return victims


@pytest.mark.parametrize("count", ["0", "2"])
def test_broken_images_are_all_named_before_a_run(
    tree: Path, tmp_path: Path, count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAT_WORKERS", count)
    victims = broken_tree(tree, tmp_path, 12)
    data = get_dataset(f"folder:{tmp_path / 'tree'}?size={SIZE}")
    seen: list[tuple[int, int]] = []
    with pytest.raises(DataError) as error:
        check_files(*data.parts, progress=lambda *progress: seen.append(progress))
    first, names, last = str(error.value).splitlines()
    assert first == "expected images, got 12 of 64 files that are none or are broken:"
    assert all(str(path) in names for path in victims[:10])
    assert names.endswith("; and 2 more")
    assert last == "replace or remove them, and start again"
    assert seen[-1] == (64, 64)


def test_images_are_checked_once_in_a_process(
    tree: Path, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tree, tmp_path / "tree")
    name = f"folder:{tmp_path / 'tree'}?size={SIZE}"
    check_files(*get_dataset(name).parts)
    monkeypatch.setattr("PIL.Image.open", None)
    check_files(*get_dataset(name).parts)
    with pytest.raises(DataError, match="got 64 of 64 files"):
        check_files(*get_dataset(name).parts, whole=True)
    (tmp_path / "tree/train/along/001.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="got 40 of 64 files"):  # those of the part that has changed
        check_files(*get_dataset(name).parts)


def test_a_program_ends_whatever_it_left_unread(tree: Path, tmp_path: Path) -> None:
    """Workers that wait to be read from are no reason to wait for them."""
    text = (
        "import numpy as np\n"
        "from sat_core.datasets import get_dataset\n"
        f"images = get_dataset('folder:{tree}?size=16').train.images\n"
        "kept = images.stream((np.arange(i, i + 2), None) for i in range(38))\n"
        "print(next(kept).shape)\n"
    )
    done = program(["-W", "error", "-c", text], tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("(2, 16, 16, 3)\n", "", 0)


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A single worker process, started within the test; none is left."""
    monkeypatch.setenv("SAT_WORKERS", "1")
    monkeypatch.setattr(workers, "_IDLE", {})
    yield
    workers._end_all()


def with_program(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Worker processes run `text` first."""
    content = Path(workers.__file__).with_name("decoder.py").read_text()
    (folder / "decoder.py").write_text(content.replace("from __future__ import annotations\n", text))
    monkeypatch.setattr(workers, "__file__", str(folder / "workers.py"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import os; os._exit(3)", "could not be started (exit status 3"),
        ("import missing_module", "could not be started (exit status 1"),
        ("import os; os.kill(os.getpid(), 11)", "could not be started (SIGSEGV"),
    ],
)
def test_a_decoder_that_does_not_start_is_told_of(
    text: str, says: str, data: DataSet, one_worker: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_program(monkeypatch, tmp_path, text)
    with pytest.raises(DataError) as error:
        list(data.train.images.stream([(np.arange(4), None)]))
    assert says in str(error.value)
    assert "SAT_WORKERS=0 decodes in this process" in str(error.value)


def test_without_an_interpreter_the_cure_is_named(
    data: DataSet, one_worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DataError, match=r"could not be started(.|\n)*SAT_WORKERS=0"):
        list(data.train.images.stream([(np.arange(4), None)]))


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("os.kill(os.getpid(), 9)", "was killed (SIGKILL), most likely for want of memory\nset SAT_WORKERS to fewer"),
        ("os.kill(os.getpid(), 11)", "crashed (SIGSEGV"),
        ("os._exit(7)", "crashed (exit status 7"),
        ("os.close(1), os.closerange(3, 99), time.sleep(60)", "crashed (exit status"),
    ],
)
def test_a_decoder_that_ends_is_told_of(
    end: str, says: str, data: DataSet, one_worker: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    hook = f"import os, time, PIL.Image\nPIL.Image.open = lambda *_, **__: ({end})\n"
    with_program(monkeypatch, tmp_path, hook)
    with pytest.raises(DataError) as error:
        list(data.train.images.stream((np.arange(4), None) for _ in range(20)))
    assert says in str(error.value)


def test_workers_are_kept_whatever_signal_reaches_them_and_replaced(data: DataSet, one_worker: None) -> None:
    def decode() -> Any:
        assert len(list(data.train.images.stream((np.arange(4), None) for _ in range(9)))) == 9
        (worker,) = workers._IDLE[os.getpid()]
        return worker

    first = decode()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # a stop is for the process that trains
        first._process.send_signal(number)
    assert decode() is first
    first._process.kill()
    first._process.wait()
    assert decode() is not first


def test_an_image_too_long_to_be_scaled_is_named(tree: Path, tmp_path: Path, here: None) -> None:
    from PIL import Image

    shutil.copytree(tree, tmp_path / "tree")
    path = tmp_path / "tree" / "test" / "along" / "long.png"
    Image.new("RGB", (5000, 1)).save(path)
    images = get_dataset(f"folder:{tmp_path / 'tree'}?size={SIZE}").test.images
    with pytest.raises(DataError, match=f"{path}: expected sides that differ by at most 50 times, got 5000 x 1 pixels"):
        images[np.arange(len(images))]


def test_sizes_and_counts_that_make_no_sense_are_refused(
    tree: Path, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ("x", "0", "-3", "4096", "16.0", "0016", "１６"):
        with pytest.raises(SpecError, match="expected size=N"):
            get_dataset(f"folder:{tree}?size={size}")
    with pytest.raises(SpecError, match=r"unknown option 'sizes' \(did you mean 'size'\?\)"):
        get_dataset(f"folder:{tree}?sizes=16")
    for wrong in ("size", "size=", "size=16&size=8"):
        with pytest.raises(SpecError, match=r"expected OPTION=VALUE after '\?', each once"):
            get_dataset(f"folder:{tree}?{wrong}")
    with pytest.raises(DataError, match="expected a square"):
        data.test.resized((8, 9, 3))
    monkeypatch.setenv("SAT_WORKERS", "many")
    with pytest.raises(SpecError, match="SAT_WORKERS"):
        list(data.test.images.stream([(np.arange(3), None)]))


def test_images_of_a_source_are_taken_and_resized_without_decoding(data: DataSet) -> None:
    images = data.test.images
    assert isinstance(images, FileImages)
    some = images.take(np.array([4, 2])).resized((8, 8, 1))
    assert some.shape == (2, 8, 8, 1)
    assert some.files == (images.files[4], images.files[2])
    assert data.resized((12, 12, 3)).image_shape == (12, 12, 3)
    assert np.array_equal(images[3:5], images[np.array([3, 4])])


def test_an_augmentation_that_crops_needs_files(tree: Path, tmp_path: Path) -> None:
    digits = get_dataset("digits")
    with pytest.raises(SpecError, match="crops images while they are decoded"):
        attrs.evolve(job(f"folder:{tree}?size={SIZE}", tmp_path, NumpyBackend()), data=digits).check()


@pytest.mark.parametrize("shape", [(8, 8, 1), (11, 40, 3), (28, 28, 1), (5, 3, 3)])
def test_arrays_are_resized_as_pillow_does(shape: tuple[int, int, int]) -> None:
    from PIL import Image

    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    for size in ((8, 8), (17, 9), (32, 32)):
        found = resize(images, (*size, shape[2]))
        for image, pixels in zip(images, found, strict=True):
            squeezed = image[..., 0] if shape[2] == 1 else image
            expected = np.asarray(Image.fromarray(squeezed).resize(size[::-1], Image.Resampling.BILINEAR))
            assert np.abs(pixels.reshape(expected.shape).astype(int) - expected).max() <= 1
        floats = resize((images / np.float32(255)).astype(np.float32), (*size, shape[2]))
        assert floats.dtype == np.float32
        assert np.abs(floats * 255 - found).max() <= 0.51


def test_channels_follow_the_model() -> None:
    colour = np.full((1, 4, 4, 3), (255, 0, 0), np.uint8)
    assert resize(colour, (4, 4, 1))[0, 0, 0] == 76
    grey = resize(np.full((1, 4, 4, 1), 90, np.uint8), (2, 2, 3))
    assert grey.shape == (1, 2, 2, 3)
    assert (grey == 90).all()
