"""Simulators as part of torch computations."""

import numpy as np
import torch

from skphonon.physics.stability import searching

__all__ = ["Simulation"]


class Simulation(torch.autograd.Function):
    """Hands the derivatives of a simulator to torch."""

    @staticmethod
    def forward(ctx, parameters, simulator):
        """Simulate; differentiate as well where there is no gradient to go back by."""
        rows = parameters.detach().cpu().numpy()
        backwards = hasattr(simulator, "gradient")
        if backwards or not parameters.requires_grad:
            ctx.simulator, ctx.rows = simulator, rows
            return torch.as_tensor(simulator.simulate(rows)).to(parameters)
        ctx.simulator = None
        jacobian, spectra = simulator.jacobian(rows, return_spectra=True)
        # a pixel that is not measured has no say
        ctx.save_for_backward(torch.as_tensor(np.nan_to_num(jacobian)).to(parameters))
        return torch.as_tensor(spectra).to(parameters)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        """Go backwards, or apply the transposed Jacobian."""
        if ctx.simulator is not None:
            slopes = np.nan_to_num(gradient.detach().cpu().numpy().astype(float))
            with searching():  # the spectra have told what is unstable
                found = ctx.simulator.gradient(ctx.rows, slopes)
            return torch.as_tensor(found).to(gradient), None
        (jacobian,) = ctx.saved_tensors
        return torch.einsum("sx,sxp->sp", gradient, jacobian), None
