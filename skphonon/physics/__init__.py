"""Laws of nature: scattering, force constants and lattice dynamics.

Pure functions and models; no instrument in sight.
"""
