"""Simulators as part of torch computations."""

import numpy as np
import torch

__all__ = ["Simulation"]


class Simulation(torch.autograd.Function):
    """Hands the derivatives of a simulator to torch."""

    @staticmethod
    def forward(ctx, parameters, simulator):
        """Simulate, and keep the Jacobian where a gradient may be asked for."""
        rows = parameters.detach().cpu().numpy()
        if not parameters.requires_grad:
            return torch.as_tensor(simulator.simulate(rows)).to(parameters)
        jacobian, spectra = simulator.jacobian(rows, return_spectra=True)
        # a pixel that is not measured has no say
        ctx.save_for_backward(torch.as_tensor(np.nan_to_num(jacobian)).to(parameters))
        return torch.as_tensor(spectra).to(parameters)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        """Apply the transposed Jacobian."""
        (jacobian,) = ctx.saved_tensors
        return torch.einsum("sx,sxp->sp", gradient, jacobian), None
