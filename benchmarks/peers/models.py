"""One detector in a process of its own, for :mod:`benchmarks.peers`.

See :mod:`benchmarks.peers.process` for what it answers. ``run`` is one image, and the errors are
those of its map and latents.
"""

import hashlib
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import pyramidflow
from benchmarks.harness.subjects import images, randomise
from benchmarks.peers.process import Missing, Peer, Setting, answer_lines
from pyramidflow import Detector, PyramidFlow, ops
from pyramidflow.data.preprocessing import network_input
from pyramidflow.errors import InputError
from pyramidflow.model import Contrast
from pyramidflow.spec import Preprocessing

LEVELS, STACKS, KERNEL = 4, 4, 7
PADIM_DIMENSIONS = 100
CORESET = 0.1


def normalised(image: Tensor) -> Tensor:
    """``[1, 3, H, W]``, float32."""
    return network_input([image[0].numpy()], Preprocessing(image.shape[1]), torch.device("cpu"))


def released_module(setting: Setting) -> Any:
    """The released code's ``model.py``, its ResNet without ImageNet's weights."""
    if setting.released is None:
        raise Missing("no checkout was given (--released PATH)")
    from torchvision import models

    make = models.resnet18
    # Time does not depend on the weights, and a download may not be possible.
    models.resnet18 = lambda **_: make(weights=None)
    sys.path.insert(0, setting.released)
    try:
        import model
    except ImportError as error:
        raise Missing(f"it does not import ({error})") from error
    return model


def make_released(setting: Setting, saves_memory: bool = True) -> nn.Module:
    """The released network as its training script builds it, unless memory is not to be saved."""
    module = released_module(setting)
    layers = 18 if setting.encoder == "resnet18" else 0
    network: nn.Module = module.PyramidFlow(
        layers, setting.channels, LEVELS, STACKS, KERNEL, (0, 1), saves_memory
    )
    return network


def released_map(network: Any, image: Tensor, template: list[Tensor]) -> Tensor:
    """Anomaly map ``[1, h, w]`` as the released training script takes it when it tests."""
    difference = [(z - mean).abs() for z, mean in zip(network(image), template, strict=True)]
    composed: Tensor = network.pyramid.compose_pyramid(difference).mean(1)
    return composed


def make_detector(setting: Setting) -> Detector:
    """Our detector, untrained."""
    file = None
    if setting.encoder == "resnet18":
        from torchvision import models

        file = Path(setting.folder) / "resnet18.pth"
        torch.save(models.resnet18(weights=None).state_dict(), file)
    channels = None if file else setting.channels
    return Detector(
        setting.size,
        encoder=setting.encoder,  # type: ignore[arg-type]
        encoder_weights=file,
        channels=channels,
        device="cpu",
    )


@torch.no_grad()
def prepare(setting: Setting) -> None:
    """Write the weights, the template, the image, and the released code's results on it."""
    torch.manual_seed(0)
    image = images(1, setting.size)
    x = normalised(image)
    ours = make_detector(setting).model
    case: dict[str, Any] = {"pixels": image}
    if setting.released is None:
        randomise(list(ours.flow.blocks))
        template = list(ours(x.flip(-1)))
    else:
        network: Any = make_released(setting)
        randomise(list(network.nf.moduleslst))
        network.eval().nf.train()  # one step leaves running means behind
        network(x)
        network.eval()
        template = list(network(x.flip(-1)))
        case["state"] = network.state_dict()
        case["latents"] = list(network(x))
        case["map"] = released_map(network, x, template)
        ours = PyramidFlow.from_released(network.state_dict())
    case["template"] = template
    Detector.from_network(ours, template, {"image_size": setting.size}).save(setting.detector_file)
    torch.save(case, setting.case_file)


def read_case(setting: Setting) -> dict[str, Any]:
    """What :func:`prepare` wrote, mapped: what is not used takes no memory."""
    case: dict[str, Any] = torch.load(setting.case_file, mmap=True, weights_only=True)
    return case


def build_released(setting: Setting) -> Peer:
    """The authors' released code."""
    network = make_released(setting).eval()
    case = read_case(setting)
    network.load_state_dict(resized_means(network, case["state"]))
    image, template = normalised(case["pixels"]), case["template"]
    version, path = released_version(setting)
    return Peer(lambda: released_map(network, image, template), version, path)


def released_version(setting: Setting) -> tuple[str, str]:
    """What tells one released code from another, and where it lies."""
    source = Path(str(setting.released)) / "model.py"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return f"model.py, SHA-256 {digest[:12]}", str(source)


def resized_means(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state, for which the network's running means get the shape of a trained one's."""
    for name, _ in list(network.named_buffers()):
        owner, _, leaf = name.rpartition(".")
        if leaf == "running_mean" and owner.endswith("affineParams.norm"):
            network.get_submodule(owner).running_mean = torch.zeros_like(state[name])
    return state


def build_reference(setting: Setting) -> Peer:
    """Ours in plain PyTorch."""
    detector = Detector.load(setting.detector_file, device="cpu")
    case = read_case(setting)
    image = normalised(case["pixels"])
    assert detector.template is not None
    contrast = Contrast(detector.template)

    def run() -> Tensor:
        with ops.use_backend("reference"):
            return detector.model.anomaly_map(image, contrast)

    return _ours(case, run, run, detector, "reference")


def build_default(setting: Setting) -> Peer:
    """Ours as users run it: camera pixels in, map in the image's size out."""
    return _with_engine(setting, Detector.load(setting.detector_file, device="cpu"))


def build_budget(setting: Setting) -> Peer:
    """The same within a memory budget."""
    detector = Detector.load(setting.detector_file, device="cpu")
    try:
        detector.prepare(threads=setting.threads, memory_budget=setting.budget * 10**6)
    except InputError as error:
        raise Missing(str(error)) from error
    return _with_engine(setting, detector, f"within {setting.budget / 1e3:.2f} GB")


def _with_engine(setting: Setting, detector: Detector, note: str = "") -> Peer:
    case = read_case(setting)
    image = case["pixels"][0].numpy()

    def run() -> tuple[float, Any]:
        return detector.working_map(image)

    def to_map() -> Tensor:
        return torch.from_numpy(run()[1])[None]

    return _ours(case, run, to_map, detector, ops.active_backend("cpu"), note)


def _ours(
    case: dict[str, Any],
    run: Callable[[], object],
    to_map: Callable[[], Tensor],
    detector: Detector,
    backend: str,
    note: str = "",
) -> Peer:
    def errors() -> dict[str, float]:
        if "map" not in case:
            return {}
        found, expected = to_map(), case["map"]
        if found.shape != expected.shape:
            size = found.shape[-2:]
            expected = functional.interpolate(
                expected[None], size=size, mode="bilinear", antialias=True
            )[0]
        latents = detector.model(normalised(case["pixels"]))
        pairs = zip(latents, case["latents"], strict=True)
        return {
            "map": relative_error(found, expected),
            "latents": max(relative_error(z, theirs) for z, theirs in pairs),
        }

    return Peer(
        run=run,
        version=f"{pyramidflow.__version__}, backend {backend}",
        path=str(Path(pyramidflow.__file__).parent),
        note=note,
        errors=errors,
    )


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    difference = (value.double() - expected.double()).norm()
    return float(difference / expected.double().norm())


def _anomalib(setting: Setting, model: nn.Module, note: str) -> Peer:
    import anomalib

    model.eval()
    image = normalised(images(1, setting.size))
    return Peer(
        run=lambda: model(image).anomaly_map,
        version=f"anomalib {metadata.version('anomalib')}",
        path=str(Path(anomalib.__file__).parent),
        note=note,
    )


def build_padim(setting: Setting) -> Peer:
    """PaDiM: a Gaussian at each of layer1's places."""
    from anomalib.models.image.padim.torch_model import PadimModel

    layers = ["layer1", "layer2", "layer3"]
    model = PadimModel("resnet18", layers, pre_trained=False, n_features=PADIM_DIMENSIONS)
    places = (setting.size // 4) ** 2
    model.gaussian.mean = torch.randn(PADIM_DIMENSIONS, places)
    model.gaussian.inv_covariance = torch.eye(PADIM_DIMENSIONS).repeat(places, 1, 1)
    return _anomalib(setting, model, f"{PADIM_DIMENSIONS} dimensions")


def build_patchcore(setting: Setting) -> Peer:
    """PatchCore: the nearest of a bank of patches."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(("layer2", "layer3"), "resnet18", pre_trained=False)
    bank = int(CORESET * setting.patchcore_images * (setting.size // 8) ** 2)
    model.memory_bank = torch.randn(bank, 128 + 256)
    note = f"bank of {bank} patches, {CORESET:.0%} of {setting.patchcore_images} images"
    return _anomalib(setting, model, note)


def build_fastflow(setting: Setting) -> Peer:
    """FastFlow with eight steps."""
    from anomalib.models.image.fastflow.torch_model import FastflowModel

    size = (setting.size, setting.size)
    return _anomalib(setting, FastflowModel(size, "resnet18", pre_trained=False), "8 flow steps")


def build_efficientad(setting: Setting) -> Peer:
    """EfficientAD-S, which has its own network."""
    from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel

    model = EfficientAdModel()
    for values, content in ((model.mean_std, {"std": 1.0}), (model.quantiles, {"qb_st": 1.0})):
        for name, value in content.items():
            nn.init.constant_(values[name], value)
    nn.init.constant_(model.quantiles["qb_ae"], 1.0)
    return _anomalib(setting, model, "own network, no ResNet18")


BUILDERS: dict[str, Callable[[Setting], Peer]] = {
    "released": build_released,
    "padim": build_padim,
    "patchcore": build_patchcore,
    "fastflow": build_fastflow,
    "efficientad": build_efficientad,
    "reference": build_reference,
    "default": build_default,
    "budget": build_budget,
}


if __name__ == "__main__":
    with torch.inference_mode():
        answer_lines(BUILDERS, prepare)
