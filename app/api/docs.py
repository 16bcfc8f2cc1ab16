"""The interactive documentation, from files of this installation: nothing comes from elsewhere."""

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse
from swagger_ui_bundle import swagger_ui_path

from app.core.errors import NotFound

FILES = {"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"}

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>cyclealign: the API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>
// This renderer knows OpenAPI 3.0 by name only; the document's 3.1 renders well under that name.
fetch("/openapi.json").then((answer) => answer.json()).then((spec) => {
  SwaggerUIBundle({
    spec: {...spec, openapi: "3.0.3"},
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
  });
});
</script>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def page() -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(PAGE)


@router.get("/docs/{name}")
def file(name: str) -> FileResponse:
    """Serve one of the page's files."""
    if name not in FILES:
        raise NotFound("The documentation has no such file.")
    return FileResponse(swagger_ui_path / name)
