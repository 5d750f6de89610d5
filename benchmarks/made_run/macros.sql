-- What all tables of the made run are made with. Variables: num_images, shard_rows, dropped (every so many groups left out; 0: none).
create macro share(a, b) as hash(a, b) / 18446744073709551615.0;
create macro image_of(position) as (position // getvariable('shard_rows')) << 24 | (position % getvariable('shard_rows'));
create macro word(bits) as [
    'a', 'the', 'of', 'in', 'on', 'with', 'and', 'for', 'red', 'blue', 'green', 'white', 'black', 'old', 'new', 'small', 'large', 'vintage',
    'modern', 'photo', 'picture', 'print', 'poster', 'image', 'drawing', 'portrait', 'view', 'house', 'garden', 'street', 'city', 'river',
    'mountain', 'beach', 'forest', 'sky', 'sun', 'moon', 'cat', 'dog', 'horse', 'bird', 'flower', 'tree', 'car', 'train', 'boat', 'bridge',
    'chair', 'table', 'lamp', 'shirt', 'dress', 'shoes', 'watch', 'phone', 'cake', 'bread', 'wine', 'coffee', '2023', '10', 'free', 'sale'
][(bits & 63)::integer + 1];
-- Four to ten words of the bits of one hash: as good as unique.
create macro text_of(h) as concat_ws(' ',
    word(h), word(h >> 6), word(h >> 12), word(h >> 18),
    case when h >> 61 > 0 then word(h >> 24) end, case when h >> 61 > 1 then word(h >> 30) end, case when h >> 61 > 2 then word(h >> 36) end,
    case when h >> 61 > 3 then word(h >> 42) end, case when h >> 61 > 4 then word(h >> 48) end, case when h >> 61 > 5 then word(h >> 54) end
);
create macro status_of(position) as
    case
        when hash(position, 's') % 1000 >= 46 then 'ok'
        when hash(position, 's') % 1000 < 15 then 'unreadable'
        when hash(position, 's') % 1000 < 40 then 'missing'
        when hash(position, 's') % 1000 < 45 then 'too_small'
        else 'too_large'
    end;
