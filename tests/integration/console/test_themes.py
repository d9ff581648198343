"""Light, dark, or as the system says."""

import pytest

from tests.integration.console.running import Browser, form_token


async def test_theme_is_the_systems_until_somebody_chooses(owner: Browser) -> None:
    page = await owner.get("/emails?mode=test")
    assert 'data-theme="system"' in page.text
    assert '<meta name="color-scheme" content="light dark">' in page.text
    answer = await owner.submit(
        "/theme", theme="dark", then="/emails?mode=test", form_token=form_token(page)
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/emails?mode=test")
    for path in ("/nothing-here", "/inbox", "/emails"):
        page = await owner.get(path)
        assert 'data-theme="dark"' in page.text
        assert '<meta name="color-scheme" content="dark">' in page.text
    assert 'name="theme" value="dark" aria-pressed="true"' in page.text


async def test_theme_stays_when_its_person_signs_out(owner: Browser) -> None:
    token = form_token(await owner.get("/emails"))
    await owner.submit("/theme", theme="light", then="/", form_token=token)
    await owner.submit("/logout", form_token=token)
    assert 'data-theme="light"' in (await owner.get("/login")).text


@pytest.mark.parametrize("theme", ["", "Dark", "blue", "dark; path=/x"])
async def test_theme_that_does_not_exist_is_refused(owner: Browser, theme: str) -> None:
    token = form_token(await owner.get("/emails"))
    answer = await owner.submit("/theme", theme=theme, then="/", form_token=token)
    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers


async def test_choice_leads_to_no_other_site(owner: Browser) -> None:
    token = form_token(await owner.get("/emails"))
    answer = await owner.submit("/theme", theme="dark", then="//evil.example", form_token=token)
    assert answer.headers["location"] == "/"


async def test_choice_of_one_browser_is_not_anothers(owner: Browser, other_owner: Browser) -> None:
    token = form_token(await owner.get("/emails"))
    await owner.submit("/theme", theme="dark", then="/", form_token=token)
    assert 'data-theme="system"' in (await other_owner.get("/emails")).text


async def test_form_needs_the_sessions_token(owner: Browser) -> None:
    answer = await owner.submit("/theme", theme="dark", then="/")
    assert answer.status_code == 403
