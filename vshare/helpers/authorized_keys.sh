# Put a line into ~/.ssh/authorized_keys, or take it out, for vshare/authorized_keys.py, which
# prepends action=insert|remove, key=BASE64, line='...', seconds=N or nothing, utc=Z or nothing.
# POSIX sh and busybox. Every other byte of the file stays as it is, and so do its owner, its mode
# and a symbolic link: our line goes to the top, so that a last line without its newline does too.
exec 2>&1
set -u
umask 077
LC_ALL=C
export LC_ALL
unset TZ # the server reads times in the system's zone, not in this user's
PATH="$PATH:/usr/bin:/bin:/usr/sbin:/sbin"

fail() {
    echo "vshare-keys: failed $*"
    exit 1
}

cd -- "${HOME:-}" || fail "no home directory"
shown='~/.ssh/authorized_keys'
file=.ssh/authorized_keys
made=
was=
new=
lock=.ssh/vshare.lock
trap 'rm -f "$was" "$new"; rmdir "$lock" 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM
# One share at a time. What is below takes milliseconds: a lock that stays was left by the dead.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    if [ "$action" = remove ]; then
        [ -e "$file" ] || { echo "vshare-keys: ok absent"; exit 0; }
    elif [ ! -d .ssh ]; then
        if mkdir .ssh; then
            made=" (made ~/.ssh)"
        else
            [ -d .ssh ] || fail "cannot make ~/.ssh" # another share may have made it
        fi
    fi
    ! mkdir "$lock" 2>/dev/null || break
    [ ! -d .ssh ] || [ -w .ssh ] || fail "cannot write into ~/.ssh"
    sleep 0.2 2>/dev/null || sleep 1
done

if [ "$action" = insert ] && [ ! -e "$file" ]; then
    # Not through a link that leads nowhere: where to, is not ours to say.
    [ ! -h "$file" ] || fail "$shown is a link to nothing"
    : >"$file" || fail "cannot make $shown"
    made=${made:-" (made this file)"}
    if command -v restorecon >/dev/null; then restorecon .ssh "$file" >/dev/null; fi
fi
if [ -h "$file" ] || [ -h .ssh ]; then
    file=$(readlink -f "$file") || fail "cannot follow the link $shown"
fi
[ -f "$file" ] || fail "$shown is not a file"

option=
if [ "$action" = insert ] && [ -n "$seconds" ]; then
    # By this machine's own clock, which need not be right.
    at=@$(($(date +%s) + seconds))
    if [ -n "$utc" ]; then
        at=$(date -u -d "$at" +%Y%m%d%H%M%SZ)
    else
        at=$(date -d "$at" +%Y%m%d%H%M%S)
    fi
    case $at in
    [0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]*[0-9Z]) option="expiry-time=\"$at\" " ;;
    esac
fi

was=$(mktemp "$file.XXXXXX") && new=$(mktemp "$file.XXXXXX") || fail "cannot write beside $shown"
# Another program may write the file at the same time: then it is done over.
for attempt in 1 2 3 4 5; do
    cp -p "$file" "$was" && cp -p "$file" "$new" || fail "cannot write beside $shown"
    ours=$(grep -aF -- "$key" "$was")
    if [ "$action" = remove ] && [ -z "$ours" ]; then
        echo "vshare-keys: ok absent"
        exit 0
    fi
    case $ours in
    *"(made ~/.ssh)"*) made=" (made ~/.ssh)" ;;
    *"(made this file)"*) made=" (made this file)" ;;
    esac
    frozen=
    [ -w "$new" ] || { frozen=1; chmod u+w "$new"; }
    {
        if [ "$action" = insert ]; then printf '%s\n' "$option$line$made"; fi
        sed "\\|$key|d" "$was"
    } >"$new" || fail "cannot write beside $shown"
    [ -z "$frozen" ] || chmod u-w "$new"
    cmp -s "$file" "$was" || continue
    if [ "$action" = remove ] && [ -n "$made" ] && [ ! -s "$new" ]; then
        rm -f "$file" || fail "cannot remove $shown"
        case $made in *ssh*)
            rm -f "$was" "$new"
            rmdir "$lock" .ssh 2>/dev/null # another share may have come meanwhile
            ;;
        esac
    elif [ "$(ls -ln "$new" | awk '{print $3, $4}')" = "$(ls -ln "$file" | awk '{print $3, $4}')" ]; then
        mv -f "$new" "$file" || fail "cannot replace $shown"
    else # a file of somebody else's that we may write: it stays theirs
        cat "$new" >"$file" || fail "cannot write $shown"
    fi
    if [ "$action" = remove ]; then
        echo "vshare-keys: ok removed"
    else
        grep -qaF -- "$key" "$file" || continue
        echo "vshare-keys: ok inserted $option"
    fi
    exit 0
done
fail "another program keeps writing $shown"
