"""Deployment from a workstation to boards: releases, installation over SSH, health check and rollback."""
