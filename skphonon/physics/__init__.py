"""Laws of nature: scattering, lattice dynamics and spin waves.

Pure functions and models; no instrument in sight.
"""
