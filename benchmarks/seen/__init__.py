"""Bars of the page, the dashboards, the packages and the docs: what users see and install."""
