"""Signing in and out, for browsers."""

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from pyramidflow.service.access import SESSION_SECONDS
from pyramidflow.service.context import Given, seconds_to_wait, too_many

router = APIRouter(
    prefix="/api",
    responses={
        400: {"description": "The body is no JSON."},
        401: {"description": "The token is wrong."},
        403: {"description": "The request comes from another site, or there is no token."},
        413: {"description": "The request is too large."},
        429: {"description": "Too many requests, or wrong tokens."},
    },
)


class Token(BaseModel):
    """What a person types in."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(min_length=1, max_length=1000)


async def own_page(request: Request, context: Given) -> None:
    """Refuse what other sites send.

    Raises:
        HTTPException: 403.
    """
    if not context.access.is_from_own_page(request):
        raise HTTPException(403, "a session begins and ends on the service's own page.")


@router.post("/session", status_code=204, dependencies=[Depends(own_page)], summary="Sign in")
def sign_in(request: Request, given: Token, context: Given) -> Response:
    """Show the token once; a cookie stands for it from then on."""
    if not context.access.has_token:
        raise HTTPException(403, "nobody can sign in: the service was started without a token.")
    is_right = context.access.fits(given.token)
    wait = seconds_to_wait(request, is_right, context)
    if wait:
        raise too_many(wait)
    if not is_right:
        raise HTTPException(401, "the token is wrong.", {"WWW-Authenticate": "Bearer"})
    answer = Response(status_code=204)
    answer.set_cookie(
        context.access.cookie,
        context.access.begin(),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.headers.get("origin", "").startswith("https://"),
    )
    return answer


@router.delete("/session", status_code=204, dependencies=[Depends(own_page)], summary="Sign out")
def sign_out(request: Request, context: Given) -> Response:
    """End the session of this browser."""
    context.access.end(request)
    answer = Response(status_code=204)
    answer.delete_cookie(context.access.cookie, httponly=True, samesite="strict")
    return answer
