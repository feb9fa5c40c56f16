# What web servers of this machine are configured with, for vshare/web/vhosts.py, which prepends
# `sudo=...` and `where=here` or `where=containers`. POSIX sh and busybox.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
[ -n "$sudo" ] && { $sudo true >/dev/null 2>&1 </dev/null || sudo=; }
limit=
command -v timeout >/dev/null 2>&1 && limit="timeout 4"
etc=/etc
most=300000 # bytes of each server: more is not read

# Each file that is named, as `nginx -T` prints it.
show() {
    count=0
    while read -r file; do
        [ -f "$file" ] || continue
        count=$((count + 1))
        [ "$count" -gt 200 ] && break
        echo "# configuration file $file:"
        $sudo cat "$file" 2>/dev/null </dev/null
        echo
    done
}

nginx_here() {
    [ -d $etc/nginx ] || command -v nginx >/dev/null 2>&1 || return
    echo "== nginx"
    told=$($sudo $limit nginx -T 2>/dev/null </dev/null | head -c $most)
    if [ -n "$told" ]; then
        printf '%s\n' "$told"
        return
    fi
    {
        echo $etc/nginx/nginx.conf
        find -L $etc/nginx -maxdepth 4 -type f \
            \( -name '*.conf' -o -path '*/sites-enabled/*' -o -path '*/sites/*' \) \
            ! -path $etc/nginx/nginx.conf ! -name '*.key' ! -name '*.pem' 2>/dev/null | sort
    } | show | head -c $most
    echo
}

apache_here() {
    [ -d $etc/apache2 ] || [ -d $etc/httpd ] || command -v apache2ctl >/dev/null 2>&1 || return
    echo "== apache"
    for control in apache2ctl httpd apachectl; do
        command -v $control >/dev/null 2>&1 || continue
        told=$($sudo $limit $control -S 2>/dev/null </dev/null | head -c $most)
        case $told in
        *"VirtualHost configuration"*)
            printf '%s\n' "$told"
            # It leaves out what else a server is called that is alone at its port.
            printf '%s\n' "$told" | sed -n 's/.*(\(\/[^()]*\):[0-9]*)$/\1/p' | sort -u |
                show | head -c $most
            return
            ;;
        esac
    done
    for file in $etc/apache2/*.conf $etc/apache2/sites-enabled/* $etc/apache2/vhosts.d/*.conf \
        $etc/httpd/conf/httpd.conf $etc/httpd/conf.d/*.conf; do
        echo "$file"
    done | show | head -c $most
    echo
}

# Those in containers, with the ports that lead there.
in_containers() {
    command -v docker >/dev/null 2>&1 || return
    $sudo $limit docker ps --no-trunc --format '{{.ID}} {{.Ports}}' 2>/dev/null </dev/null |
        head -n 32 | grep -e '->' | while read -r id ports; do
        echo "== container $ports"
        $sudo $limit docker exec "$id" sh -c \
            'nginx -T 2>/dev/null || apache2ctl -S 2>/dev/null || httpd -S 2>/dev/null' \
            2>/dev/null </dev/null | head -c $most
        echo
    done
}

if [ "$where" = containers ]; then
    in_containers
else
    nginx_here
    apache_here
fi
