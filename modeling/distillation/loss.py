"""The distillation loss. The recipe's temperature is applied here; all stored logits are raw."""

from torch import Tensor
from torch.nn import functional as F

from modeling.distillation.recipes import PAPER_TEMPERATURE


def distillation_loss(
    student_logits_BE: Tensor, teacher_logits_BE: Tensor, temperature: float = PAPER_TEMPERATURE
) -> Tensor:
    """Mean over the batch of CE(softmax(teacher / T), softmax(student / T)), a scalar.

    No factor T^2 (mcnExtraLayers vl_nnsoftmaxceloss.m), so the gradient is (q - p) / (T B). This is a cross-entropy:
    its minimum, where student = teacher up to a constant, is the entropy of the softened teacher and not zero.
    """
    target_BE = (teacher_logits_BE.float() / temperature).softmax(1)
    return F.cross_entropy(student_logits_BE.float() / temperature, target_BE)
