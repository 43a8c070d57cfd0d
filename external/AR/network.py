"""The Alpha-Refine network with its mask head (``ARnet_seg_mask_resnet50``), input 384 x 384.

Source: Alpha-Refine: Boosting Tracking Performance by Precise Bounding Box Estimation (CVPR 2021), section 3. Written
again for inference; parameter names and shapes are those of the published weights (477 entries).
"""

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from external.AR.neck import CorrelationNeck
from external.AR.pr_pool import precise_roi_pool
from external.AR.refiner import MaskRefiner

POOL_SIZE = 12  # side of the reference kernel

# The published names count the stages of ResNet from the stem: "layer2" is torchvision's layer1. Deepest first.
LEVELS = {"layer5": 2048, "layer4": 1024, "layer3": 512, "layer2": 256}
MATCHED_LEVEL = "layer4"
MATCHED_STRIDE = 16


class FeatureExtractor(ResNet):
    """ResNet-50 that returns the maps of its four stages; ``fc`` exists only because the weights hold it."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Extract features.

        Args:
            patches: (B, 3, 384, 384) RGB, ImageNet-normalized.

        Returns:
            ``layer2`` (B, 256, 96, 96), ``layer3`` (B, 512, 48, 48), ``layer4`` (B, 1024, 24, 24) and ``layer5``
            (B, 2048, 12, 12).
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(patches))))
        features = {}
        for name, stage in zip(
            ("layer2", "layer3", "layer4", "layer5"), (self.layer1, self.layer2, self.layer3, self.layer4), strict=True
        ):
            x = features[name] = stage(x)
        return features


class AlphaRefineNetwork(nn.Module):
    """Backbone, correlation neck and mask refiner. Use it in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = FeatureExtractor()
        self.neck = CorrelationNeck(POOL_SIZE)
        self.refiner = MaskRefiner(LEVELS, POOL_SIZE**2)

    def encode_reference(self, patches: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """Describe the target in reference patches.

        Args:
            patches: (B, 3, 384, 384) RGB, ImageNet-normalized.
            boxes_xyxy: (B, 4) the target in pixels of the patch.

        Returns:
            (B, 1024, 12, 12) kernels.
        """
        features = self.feature_extractor(patches)[MATCHED_LEVEL]
        return precise_roi_pool(features, boxes_xyxy, POOL_SIZE, 1 / MATCHED_STRIDE)

    def forward(self, patches: Tensor, kernels: Tensor) -> Tensor:
        """Segment the target in search patches.

        Args:
            patches: (B, 3, 384, 384) RGB, ImageNet-normalized.
            kernels: (B, 1024, 12, 12) from ``encode_reference``.

        Returns:
            (B, 1, 384, 384) logits.
        """
        features = self.feature_extractor(patches)
        return self.refiner(self.neck(kernels, features[MATCHED_LEVEL]), features)
