"""Message classes of the clusterlink API and of Terraform's plugin protocol 6.

Generated code is below `generated` and never edited; `rpc` makes stubs and handlers from the service descriptors.
"""
