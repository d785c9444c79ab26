"""The search page: what production finds for a query, beside what a candidate would find.

Starlette serves one static page and three addresses behind it. The only package that imports
Starlette and uvicorn.
"""
